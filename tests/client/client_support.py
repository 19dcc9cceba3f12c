"""A service that does what a test says, on a thread of its own; and pictures to send."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

ANSWER = {
    "id": "r1",
    "model": "m",
    "version": "v1",
    "predictions": [{"label": "red", "score": 0.9}, {"label": "blue", "score": 0.1}],
    "accepted": True,
}
MODELS = {
    "models": [
        {
            "name": "m",
            "version": "v1",
            "task": "single-label",
            "classes": ["red", "blue"],
            "input": {"height": 8, "width": 8, "channels": 3},
        }
    ]
}


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    target: str
    headers: dict
    body: bytes


@dataclass
class Made:
    """One answer to give; `break_off` closes the connection in place of it."""

    status: int = 200
    value: object = None
    headers: dict = field(default_factory=dict)
    after_s: float = 0.0
    break_off: bool = False


def problem(status, slug, **headers):
    value = {
        "type": f"urn:clearsight:problem:{slug}",
        "title": slug,
        "status": status,
        "detail": f"said {slug}",
        "id": "r9",
    }
    return Made(status, value, headers)


class Scripted:
    """Answers by a function of the request's number and the request."""

    def __init__(self, tls=None):
        self.asked: list[Asked] = []
        self.connections = 0
        self.answer: Callable = lambda number, asked: Made()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self):
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def stall(self, seconds):
        """Do nothing at all for a while, as a garbage collection or a swap to disk would."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**22)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        self._loop.set_exception_handler(lambda loop, context: None)  # what is cut off is cut off
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        server.close()
        self._loop.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                asked = await self._read(reader)
                self.asked.append(asked)
                made = self.answer(len(self.asked), asked)
                await asyncio.sleep(made.after_s)
                if made.break_off:
                    return
                default = MODELS if asked.target.startswith("/v1/models") else ANSWER
                body = json.dumps(default if made.value is None else made.value).encode()
                head = [f"HTTP/1.1 {made.status} X", f"content-length: {len(body)}"]
                head += [f"{k.replace('_', '-')}: {v}" for k, v in made.headers.items()]
                writer.write("\r\n".join([*head, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(method, target, headers, body)


COLOURS = {"red": (220, 20, 30), "green": (20, 210, 40), "blue": (25, 30, 215)}


def photo(width, height, seed=0):
    """A picture with smooth and sharp parts, (height, width, 3) uint8."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (7, 9, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = generator.integers(0, 256, 3)
    return pixels


def jpeg(pixels, **options):
    return encode(pixels, "JPEG", quality=options.pop("quality", 95), **options)


def encode(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def colour(name, size=(60, 40)):
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = COLOURS[name]
    return pixels
