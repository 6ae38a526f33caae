"""Every setting, in one frozen model: its name, unit, default and what it is for.

Rule: nothing else reads the environment. A setting comes, in this order, from the command line, from the
environment (`VIDEODOCK_` and its name), from the TOML file that `VIDEODOCK_CONFIG` names (else `videodock.toml`
in the working directory, if there is one), or from its default. `docs/settings.md` and `--help` are made from
the descriptions here.
"""

from server.settings.loading import URLS as URLS
from server.settings.loading import load as load
from server.settings.loading import unknown_variables as unknown_variables
from server.settings.model import Settings as Settings
from server.settings.types import PREFIX as PREFIX
from server.settings.types import TOKEN as TOKEN
