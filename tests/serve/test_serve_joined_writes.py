"""What reaches the connection, and when."""

import asyncio

from clearsight.serve.joined_writes import JoinedWrites


class Recorded:
    def __init__(self):
        self.told = []

    def write(self, data):
        self.told.append(data)

    def close(self):
        self.told.append("closed")

    def is_closing(self):
        return self.told[-1:] == ["closed"]


def written(steps):
    async def main():
        line = Recorded()
        await steps(JoinedWrites(line, asyncio.get_running_loop()))
        return line.told

    return asyncio.run(main())


def test_head_and_body_arrive_together():
    async def steps(line):
        line.write(b"head")
        line.write(b"body")
        await asyncio.sleep(0)

    assert written(steps) == [b"headbody"]


def test_what_nothing_follows_goes_out_in_the_next_turn():
    async def steps(line):
        line.write(b"continue")
        await asyncio.sleep(0)
        line.write(b"head")
        line.write(b"body")
        line.write(b"more")
        await asyncio.sleep(0)

    assert written(steps) == [b"continue", b"headbody", b"more"]


def test_closing_loses_nothing():
    async def steps(line):
        line.write(b"head")
        line.close()
        assert line.is_closing()
        await asyncio.sleep(0)

    assert written(steps) == [b"head", "closed"]
