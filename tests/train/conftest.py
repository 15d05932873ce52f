"""What trains models is tested in an environment of its own (`make train-test`); elsewhere nothing here is collected.

`make test` says so then.
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*"]
