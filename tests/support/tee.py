"""A proxy that keeps what an engine sent, so that a test can compare it with what came out of the router."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web


@dataclass
class Tee:
    """Where it listens and the bodies it passed on, in order."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def tee(engine_url: str) -> AsyncIterator[Tee]:
    """Pass every request to the engine, its key included, and remember the bytes of each answer's body."""
    kept = Tee()

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        body = await request.read()
        async with session.request(request.method, engine_url + request.path, data=body, headers=headers) as answer:
            passed = web.StreamResponse(status=answer.status, headers={"content-type": answer.headers["content-type"]})
            await passed.prepare(request)
            seen = b""
            async for chunk in answer.content.iter_any():
                seen += chunk
                await passed.write(chunk)
            kept.bodies.append(seen)
            await passed.write_eof()
            return passed

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield kept
        finally:
            await runner.cleanup()
