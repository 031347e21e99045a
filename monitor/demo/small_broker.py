"""The amqtt broker as a program of its own: ``python -m monitor.demo.small_broker PORT``.

It speaks MQTT 3.1.1, on loopback only, to anybody, and keeps nothing: enough to show the main job on
a machine without Mosquitto, and not for any other use.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker

_PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
"""Without a list of its own amqtt would log every packet and publish $SYS topics as well."""


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 20}}
    broker = Broker({"listeners": listeners, "plugins": dict(_PLUGINS)})
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(int(argv[0])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
