"""What stands on a page of `apt report`: its sections, links, tables and files."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Sections, links and tables of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.pictures, self.text = [], [], [], [], {}
        self.tables, self.captions, self.files = [], {}, {}
        self._section = self._caption = self._cell = None
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a" and "download" in found:
            self.files[found["download"]] = found["href"]
        elif tag == "a":
            self.links.append(found["href"])
        else:
            names = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
            self.loads += [found[name] for name in names if name in found]
        if tag == "svg" or found.get("role") == "img":
            self.pictures.append(found.get("aria-label", ""))
        if tag == "section":
            self._section = found["id"]
            self.text[self._section] = ""
        if tag == "span" and found.get("id", "").startswith("table-"):
            self._caption = found["id"]
        if tag == "table":
            self.tables.append((self._section, found["aria-labelledby"], []))
        if tag == "tr":
            self.tables[-1][2].append([])
        if tag in ("td", "th"):
            self.tables[-1][2][-1].append("")
            self._cell = True
        if tag == "small":
            self._cell = None

    def handle_endtag(self, tag):
        if tag == "span":
            self._caption = None
        if tag in ("td", "th"):
            self._cell = None
        if tag == "section":
            self._section = None

    def handle_data(self, data):
        if self._section:
            self.text[self._section] += data
        if self._caption:
            self.captions[self._caption] = self.captions.get(self._caption, "") + data
        if self._cell:
            self.tables[-1][2][-1][-1] += data

    def table(self, section, number=0):
        """Rows of a section's table, first cell to the others."""
        rows = [rows for name, _, rows in self.tables if name == section][number]
        return {row[0]: row[1:] for row in rows}
