"""FFmpeg and facts of a source: commands, renditions, playlists, verification."""
