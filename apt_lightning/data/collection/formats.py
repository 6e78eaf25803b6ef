"""The media formats that are read: one list for folders, decoders and documentation."""

FILMS = {
    "mov": (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".mj2", ".f4v"),
    "matroska": (".mkv", ".mk3d", ".webm"),
    "avi": (".avi", ".divx"),
    "mpeg": (".mpg", ".mpeg", ".mpe", ".vob"),
    "mpegts": (".ts", ".mts", ".m2ts", ".m2t"),
    "flv": (".flv",),
    "asf": (".wmv", ".asf"),
    "ogg": (".ogv", ".ogm"),
    "dv": (".dv",),
}
"""FFmpeg's name of a container -> file name endings of films in it."""

SOUNDS = {
    "mov": (".m4a", ".m4b"),
    "matroska": (".mka", ".weba"),
    "wav": (".wav",),
    "mp3": (".mp3", ".mp2"),
    "flac": (".flac",),
    "ogg": (".ogg", ".oga", ".opus", ".spx"),
    "asf": (".wma",),
    "aac": (".aac",),
    "aiff": (".aif", ".aiff", ".aifc"),
    "caf": (".caf",),
    "amr": (".amr",),
}
"""The same for sound alone."""

CONTAINERS = tuple(dict.fromkeys([*FILMS, *SOUNDS]))
"""FFmpeg's names of the containers opened; not among them: playlists and lists, which could name other files."""

FILM_SUFFIXES = frozenset(suffix for suffixes in FILMS.values() for suffix in suffixes)
SOUND_SUFFIXES = frozenset(suffix for suffixes in SOUNDS.values() for suffix in suffixes)
SUFFIXES = FILM_SUFFIXES | SOUND_SUFFIXES
"""File name endings, in lower case, that are taken for clips in a folder; a CSV can name any file."""
