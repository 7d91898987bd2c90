"""A budget for calls: the highest possible cost of a call is reserved before it is made."""

from __future__ import annotations

import asyncio

from facekit.errors import ConfigurationError


class Budget:
    """Money for calls. A call's highest cost is put aside before it is made, so that the limit is never passed.

    Args:
        limit: Dollars; None for no limit.
        spent: Dollars of earlier runs.
    """

    def __init__(self, limit: float | None = None, spent: float = 0.0) -> None:
        if limit is not None and not limit >= 0.0:
            raise ConfigurationError(f"max_cost={limit} is out of range; give dollars, at least 0")
        self.limit, self.spent, self._aside = limit, spent, 0.0
        self._changed = asyncio.Event()

    async def put_aside(self, amount: float) -> bool:
        """Put a call's highest cost aside, waiting for running calls that may turn out cheaper.

        Returns:
            False where the money does not suffice and no running call can change that.
        """
        while not self.try_put_aside(amount):
            if self._aside <= 0.0:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def try_put_aside(self, amount: float) -> bool:
        """Put money aside at once; False where it does not suffice."""
        if self.limit is not None and self.spent + self._aside + amount > self.limit:
            return False
        self._aside += amount
        return True

    def settle(self, put_aside: float, cost: float) -> None:
        """Replace what was put aside by what the call did cost."""
        self._aside = max(0.0, self._aside - put_aside)
        if self._aside < 1e-12:
            self._aside = 0.0
        self.spent += cost
        self._changed.set()
