"""Places for many series in fixed memory: the least recently read makes room.

Called by `exhausting`. In: names of series. Out: a place for each, and which of them are new. Leaves what is kept at a
place to its caller.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError

I64 = npt.NDArray[np.int64]


class Places:
    """Numbers from 0 to `most` - 1, by name."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.forgotten = 0
        self._places: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def of(self, names: Sequence[str]) -> tuple[I64, I64]:
        """The place of each of these different names, and the places that were given anew. At most `most` names."""
        fresh = list[int]()
        out = np.empty(len(names), np.int64)
        for at, name in enumerate(names):
            place = self._places.get(name)
            if place is None:
                place = self._room()
                self._places[name] = place
                fresh.append(place)
            self._places.move_to_end(name)
            out[at] = place
        return out, np.array(fresh, np.int64)

    def _room(self) -> int:
        if len(self._places) < self.most:
            return len(self._places)
        self.forgotten += 1
        return self._places.popitem(last=False)[1]

    def state(self) -> npt.NDArray[np.uint8]:
        """Names and places, oldest first, as bytes."""
        text = json.dumps([self.forgotten, list(self._places.items())])
        return np.frombuffer(text.encode(), np.uint8)

    def go_on(self, state: npt.NDArray[np.uint8]) -> None:
        """From a `state`. Raises InputError where it does not fit."""
        forgotten, places = json.loads(state.tobytes())
        if len(places) > self.most:
            raise InputError(f"a snapshot of {len(places)} series does not fit {self.most}; start anew without it")
        self.forgotten, self._places = forgotten, OrderedDict((name, place) for name, place in places)
