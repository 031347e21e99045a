"""Start Home Assistant; run by its own Python. It asks for 3.13.2 but also runs on 3.13.0."""

import sys

import homeassistant.const

homeassistant.const.REQUIRED_PYTHON_VER = min(homeassistant.const.REQUIRED_PYTHON_VER, sys.version_info[:3])

from homeassistant.__main__ import main  # noqa: E402  # it checks the version when it is imported

sys.exit(main())
