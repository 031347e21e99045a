"""Print the discovery message that tests/sinks/test_homeassistant.py compares with.

python -m tests.golden.discovery > tests/golden/discovery-nursery.json
"""

import json

from tests.sinks.test_homeassistant import discovery

if __name__ == "__main__":
    print(json.dumps(json.loads(discovery().payload), indent=2))
