"""FFmpeg and what is known of a source: commands, renditions, playlists, verification."""
