"""``vqlink demo``: a page to try the systems on."""

from __future__ import annotations

import socket
import webbrowser
from importlib.util import find_spec
from typing import Annotated

import typer

from vqlink.errors import VqlinkError

_LOOPBACK = "127.0.0.1"
_CONNECTIONS = 128  # more are answered with 503 at once


def demo_command(
    host: Annotated[str, typer.Option(help="address to listen on")] = _LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    browser: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Serve a page on which pictures, text and speech are sent; Ctrl-C ends it.

    Only this machine can reach it unless --host says otherwise; whoever reaches it can use it.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise VqlinkError("the page needs FastAPI and uvicorn: pip install 'vqlink[demo]'")
    listener = _listen(host, port)
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address

    import uvicorn

    from vqlink.demo.app import LOCAL_HOSTS, create_app

    # A page for the whole network is asked for by names that aren't known here.
    local = address.startswith("127.") or address == "::1"
    app = create_app(hosts=(*LOCAL_HOSTS, shown) if local else ("*",))
    url = f"http://{shown}:{port}/"
    print(f"vqlink demo: {url} (Ctrl-C ends it)", flush=True)
    if not local:
        print("everybody who can reach this machine can use the page", flush=True)
    if browser:
        webbrowser.open(url)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=2,
            access_log=False,
            limit_concurrency=_CONNECTIONS,
        )
    )
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VqlinkError(
            f"can't listen on {host}:{port}: {reason}; name another --port or --host"
        ) from None
