"""Real redis-servers in every arrangement, and proxies between them and a client that are slow or encrypted."""

import asyncio
import contextlib
import random
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from engines.child import die_with_parent
from engines.ports import LOWEST, free_port
from router.local.embedded_redis import redis_binary

SLOTS = 16384
BUS = 10_000
BELOW_LOCAL = 32_768


@contextlib.contextmanager
def redis_server(folder: Path, *arguments: str, choose: Callable[[], int] = free_port) -> Iterator[int]:
    """A redis-server on a port that is chosen; its files are in `folder`."""
    process, port = _started(folder, arguments, choose)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _started(
    folder: Path, arguments: tuple[str, ...], choose: Callable[[], int]
) -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers; another port is tried where something took the first before the server did."""
    for _ in range(5):
        port = choose()
        command = [str(redis_binary()), *arguments, "--port", str(port), "--dir", str(folder), "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent())
        with Redis(port=port) as client:
            until(lambda: process.poll() is not None or answers(client), f"no redis-server on port {port}")  # noqa: B023
        if process.poll() is None:
            return process, port
    raise AssertionError(f"redis-server ends with {process.returncode}: {' '.join(command)}")


def answers(client: Redis) -> bool:
    """Whether the server takes commands."""
    try:
        return bool(client.ping())
    except RedisError:
        return False


def until(good: Callable[[], object], what: str, limit_s: float = 20) -> None:
    """Wait for a condition, a deadline at most."""
    deadline = time.monotonic() + limit_s
    while not good():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def says_ok(client: Redis, *command: str) -> bool:
    """Whether the server takes the command now; it may not be ready for it yet."""
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def kill_listener(port: int) -> None:
    """Kill the server on a port of ours, without a word of farewell."""
    for process in psutil.Process().children(recursive=True):
        listens = [c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        if process.name() == "redis-server" and port in listens:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def watched_pair(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Ports of a server, its replica and a Sentinel that watches them as "main"."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(redis_server(folder))
        second = stack.enter_context(redis_server(folder, "--replicaof", "127.0.0.1", str(first)))
        with Redis(port=second, decode_responses=True) as replica:
            until(lambda: replica.info("replication")["master_link_status"] == "up", "the replica does not follow")
        written = folder / "sentinel.conf"
        written.write_text(
            f"sentinel monitor main 127.0.0.1 {first} 1\nsentinel down-after-milliseconds main 200\n"
            "sentinel failover-timeout main 2000\nrequirepass watchful\n"
        )
        sentinel = stack.enter_context(_sentinel(folder, written))
        with Redis(port=sentinel, password="watchful", decode_responses=True) as client:
            until(lambda: client.sentinel_master("main")["num-slaves"], "the Sentinel does not see the replica")
        yield first, second, sentinel


@contextlib.contextmanager
def _sentinel(folder: Path, written: Path) -> Iterator[int]:
    port = free_port()
    written.write_text(f"{written.read_text()}port {port}\ndir {folder}\n")
    command = [str(redis_binary()), str(written), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent())
    try:
        with Redis(port=port, password="watchful") as client:
            until(lambda: answers(client), "no Sentinel")
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def cluster(folder: Path, nodes: int = 3) -> Iterator[list[int]]:
    """Ports of a Cluster: the slots are shared among the first `nodes`; one more replicates the node of our keys."""
    with contextlib.ExitStack() as stack:
        ports = []
        for i in range(nodes + 1):
            (where := folder / str(i)).mkdir()
            arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
            ports.append(stack.enter_context(redis_server(where, *arguments, choose=_port_with_bus)))
        clients = [stack.enter_context(Redis(port=port, decode_responses=True)) for port in ports]
        for i, client in enumerate(clients[:nodes]):
            slots = range(SLOTS * i // nodes, SLOTS * (i + 1) // nodes)
            client.execute_command("CLUSTER ADDSLOTS", *slots)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        until(lambda: all(_knows(client, nodes + 1) for client in clients), "the Cluster does not come together")
        yield ports


def _port_with_bus() -> int:
    """A free port of which the one 10,000 above, where the nodes of a Cluster speak among themselves, is free too.

    Both lie below where the kernel takes the local ports of connections from.
    """
    for port in random.sample(range(LOWEST, BELOW_LOCAL - BUS), 200):
        with contextlib.ExitStack() as stack:
            try:
                for number in (port, port + BUS):
                    stack.enter_context(socket.socket()).bind(("", number))
            except OSError:
                continue
            return port
    raise OSError("no free pair of ports found")


def _knows(client: Redis, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes


def add_replica(ports: list[int], key: str) -> int:
    """Let the last node of a Cluster replicate the one that has `key`; the port of that one."""
    with Redis(port=ports[0], decode_responses=True) as client, Redis(port=ports[-1], decode_responses=True) as last:
        slot = int(client.execute_command("CLUSTER KEYSLOT", key))
        owner = next(port for i, port in enumerate(ports[:-1]) if slot < SLOTS * (i + 1) // (len(ports) - 1))
        with Redis(port=owner, decode_responses=True) as owning:
            name: str = owning.execute_command("CLUSTER MYID")
            last.execute_command("CLUSTER REPLICATE", name)
        until(lambda: last.info("replication")["master_link_status"] == "up", "the replica does not follow")
    return owner


@contextlib.asynccontextmanager
async def proxy(
    port: int, *, delay_s: Callable[[], float] = lambda: 0.0, encrypted: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port of a TCP proxy to a local server; each piece of an answer is late by `delay_s`."""
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: bool) -> None:
        try:
            while piece := await reader.read(65536):
                if late:
                    await asyncio.sleep(delay_s())
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        onward = await asyncio.open_connection("127.0.0.1", port)
        for task in (pump(reader, onward[1], False), pump(onward[0], writer, True)):
            tasks.add(asyncio.create_task(task))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=encrypted)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            with contextlib.suppress(AttributeError):  # Python 3.11.2 aborts no TLS connection that is lost already
                writer.transport.abort()
        await asyncio.sleep(0)


def certificates(folder: Path) -> None:
    """An authority (ca.pem) and by it a certificate with its key for a server on 127.0.0.1, and one for a client."""
    _openssl(folder, "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -subj /CN=test -days 2")
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl(folder, f"req -newkey ed25519 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        signing = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        _openssl(folder, f"{signing} -extfile {name}.ext -out {name}.pem")


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True, timeout=30)
