"""Wait on the event loop until a descriptor can be read.

Edge: the event loop.
"""

import asyncio


async def readable(descriptor: int) -> None:
    """Wait until something can be read; nothing is. May be cancelled, and nothing is lost."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
