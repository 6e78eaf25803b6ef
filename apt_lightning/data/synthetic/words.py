"""What is said: sentences on the source's topics, whose nouns, verbs and adjectives lean with the traits."""

from __future__ import annotations

import re

import numpy as np

from apt_lightning.data.synthetic.latents import FloatArray

WORDS_PER_SECOND = 43 / 15
"""The real transcripts have 43 words for 15 s."""
LEAN = 4.0
"""Log-odds, per standard deviation of the cue, that a slot takes a word of the trait's high pole."""
EMPTY_SHARE, INAUDIBLE_SHARE = 0.0011, 0.01
"""Share of clips with an empty transcript (the real share) and with an inaudible mark (ours)."""

LEXICON = {
    "adjective": (  # low pole, high pole; in the order of TRAITS
        ("quiet lonely shy silent distant reserved", "loud lively fun crowded wild thrilling"),
        ("scary stressful awful nervous terrible worried", "calm peaceful steady relaxed easy gentle"),
        ("rude selfish nasty annoying stupid cruel", "kind sweet lovely generous warm friendly"),
        ("messy late lazy random careless sloppy", "careful tidy precise organized reliable punctual"),
        ("plain usual boring simple normal familiar", "strange creative curious beautiful unusual magical"),
    ),
    "noun": (
        ("bedroom silence corner blanket pillow evening", "party crowd stage concert festival dance"),
        ("panic trouble fear crisis headache mistake", "balance comfort patience breath harmony rest"),
        ("argument enemy insult fight complaint revenge", "friend gift family hug neighbor smile"),
        ("mess excuse accident delay nap shortcut", "plan schedule budget goal list deadline"),
        ("routine rule habit television sandwich traffic", "poem painting museum dream galaxy idea"),
    ),
    "verb": (
        ("avoid hide leave escape ignore skip", "meet celebrate shout invite entertain cheer"),
        ("fear regret dread hate doubt lose", "accept trust manage settle handle balance"),
        ("blame attack mock criticize push refuse", "help thank share hug support forgive"),
        ("forget break waste drop delay miss", "plan check finish prepare measure organize"),
        ("repeat keep follow copy watch want", "imagine invent explore discover paint wonder"),
    ),
}
TOPICS = (
    "garden kitchen car phone camera book movie game song school college office hospital market train "
    "airplane beach mountain river forest city village house apartment dog cat horse bird coffee tea "
    "bread cake soup salad makeup hair dress shoe jacket hat guitar piano drum football basketball tennis "
    "bicycle computer website channel video laptop holiday birthday wedding winter summer weather science "
    "history money store"
)
OPENERS = ("So", "Well", "Okay", "Honestly", "Actually", "And", "But", "Anyway", "Now", "Basically")
TEMPLATES = (
    "we {verb} the {adjective} {noun} and {verb} the {topic}",
    "you {verb} a {noun} and {verb} your {adjective} {topic}",
    "my {noun} was {adjective} and {adjective} so I {verb} it",
    "it is a {adjective} {noun} for the {adjective} {topic}",
    "they always {verb} the {noun} because it is {adjective}",
    "we really {verb} that {topic} and this {adjective} {noun}",
    "I {verb} my {adjective} {topic} and {verb} the {noun}",
    "there was a {noun} and a {noun} and it felt so {adjective}",
    "when you {verb} the {topic} you get a {adjective} {noun}",
    "people {verb} me and I {verb} some {adjective} {noun}",
)
_CELLS = {kind: [[pole.split() for pole in poles] for poles in by_trait] for kind, by_trait in LEXICON.items()}


def compose(cues: FloatArray, n_words: int, habits: np.random.Generator, rng: np.random.Generator) -> str:
    """Write what a clip says.

    Args:
        cues: (5,) text cues of the clip, standard normal.
        n_words: Number of words; the last sentence is cut off there, as the real clips cut speech.
        habits: Source of randomness that begins alike for all clips of a source: topics, opening words.
        rng: Source of the clip's randomness.

    Returns:
        Sentences with capitals and full stops.

    Example:
        >>> compose(np.full(5, 3.0), 12, *np.random.default_rng(2).spawn(2))
        'People settle me and I check some strange friend. And there was'
    """
    topics = habits.choice(TOPICS.split(), size=4, replace=False)
    openers = habits.choice(OPENERS, size=2, replace=False)
    high = 1 / (1 + np.exp(-LEAN * cues))
    words: list[str] = []
    while len(words) < n_words:
        sentence = [str(rng.choice(openers))] if rng.random() < 0.5 else []
        for word in TEMPLATES[rng.integers(len(TEMPLATES))].split():
            if word == "{topic}":
                word = str(rng.choice(topics))
            elif word.startswith("{"):
                trait = rng.integers(5)
                cell = _CELLS[word.strip("{}")][trait][int(rng.random() < high[trait])]
                word = cell[min(int(rng.exponential(1.2)), len(cell) - 1)]
            sentence.append(word)
        sentence[0] = sentence[0].capitalize()
        sentence[-1] += "."
        words += sentence
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(words[:n_words]))


def transcribe(said: str, rng: np.random.Generator) -> str:
    """Make the transcript of what was said, with the real transcripts' rare defects.

    Args:
        said: The words spoken.
        rng: Source of randomness.

    Returns:
        The same text; now and then with a word replaced by a mark such as ``[inaudible 00:00:07]``, or empty.
    """
    fate = rng.random()
    if fate < EMPTY_SHARE:
        return ""
    if fate < EMPTY_SHARE + INAUDIBLE_SHARE:
        words = said.split()
        place = int(rng.integers(len(words)))
        words[place] = f"[inaudible 00:00:{int(place / WORDS_PER_SECOND) % 60:02d}]"
        return " ".join(words)
    return said
