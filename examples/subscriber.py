#!/usr/bin/env python3
"""Follows Tagtrail's events on NATS: in order, none missed, none twice, whatever becomes of the broker or of this program.

    subscriber.py 'tagtrail.events.*.*.prod.tag-moved' --state prod.json

Needs nats-py (pip install nats-py).
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


class State:
    """How far we are, in a small file. Delete it to begin from the start."""

    def __init__(self, path):
        self.path = Path(path)
        # The log that the sequence is of, and the sequence of the newest event that was handled.
        self.log, self.sequence = "", 0
        # The same place as the stream counts it: only good to begin near it, and only as long as it is the same stream.
        self.stream, self.place = "", 0
        if self.path.exists():
            self.__dict__.update(json.loads(self.path.read_text()))

    def save(self):
        text = json.dumps({k: v for k, v in self.__dict__.items() if k != "path"})
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)  # The old state or the new one, never half of one.


def handle(event):
    """What you do with an event. A crash right after it makes it come once more: keep the sequence with what you do."""
    what = event.get("tagMoved", {}).get("item", {}).get("image", "")
    print(event["sequence"], event["kind"], event["about"], what, flush=True)


def take(message, state, everything):
    """Handles a message unless it was handled before."""
    headers = message.headers or {}
    if "ce-sequence" not in headers:
        print(f"message {message.metadata.sequence.stream} on {message.subject} is no event of Tagtrail", file=sys.stderr)
        return
    if headers.get("content-type") == "application/protobuf":
        sys.exit("the events are protobuf, not JSON: decode them with the classes of proto/tagtrail/v1/event.proto")
    log, sequence = headers["ce-source"], int(headers["ce-sequence"])
    if state.log not in ("", log):
        sys.exit(f"{state.path} is of {state.log}, and the stream tells of {log}: delete the file to begin anew")
    # A lost stream is filled again from the first event on: what we have seen comes again, with the same sequence.
    if sequence > state.sequence:
        if everything and sequence > state.sequence + 1:
            say_missing(state.sequence + 1, f"the next one in the stream is {sequence}")
        event = json.loads(message.data)
        handle(event | {"kind": message.headers["ce-type"].split(".")[-1], "about": message.headers["ce-subject"]})
        state.log, state.sequence = log, sequence
    state.place = message.metadata.sequence.stream
    state.save()


async def follow(js, stream, subjects, state):
    """Follows the stream until something is wrong with it, the connection, or our consumer."""
    info = await js.stream_info(stream)
    if state.stream != info.created.isoformat():
        # Another stream than last time, or the same one made again. It counts from 1, whatever it holds.
        state.stream, state.place = info.created.isoformat(), 0
    if info.state.first_seq > state.place + 1:
        say_missing(state.sequence + 1, f"{info.state.first_seq - 1 - state.place} messages of the stream are gone unread")
    consumer = await js.pull_subscribe(
        subjects,
        stream=stream,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=state.place + 1,
            ack_policy=AckPolicy.NONE,  # We know how far we are, and the broker need not.
            inactive_threshold=60,  # Seconds until it removes a consumer that nobody asks any more.
        ),
    )
    while True:
        try:
            messages = await consumer.fetch(100, timeout=2)
        except nats.errors.TimeoutError:
            # Nothing new, or nobody there: this fails if the stream was deleted, for that took our consumer with it.
            end = (await js.stream_info(stream)).state.last_seq
            told = await consumer.consumer_info()
            if told.num_pending == 0 and told.delivered.stream_seq <= state.place < end:
                # All that is for us was handled, so we have come to the end of the stream.
                state.place = end
                state.save()
            continue
        for message in messages:
            take(message, state, everything=subjects.endswith(".events.>"))


def say_missing(first, why):
    print(f"events from {first} on are missing ({why}): `tagtrail events -A --from {first}` has them", file=sys.stderr)


async def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("subjects", help="such as 'tagtrail.events.>', which is everything")
    arguments.add_argument("--state", default="tagtrail-subscriber.json", help="the file that remembers how far we are")
    arguments.add_argument("--server", default="nats://127.0.0.1:4222", help="nats://user:password@host:port")
    arguments.add_argument("--stream", default="TAGTRAIL")
    arguments = arguments.parse_args()
    state = State(arguments.state)
    while True:
        try:
            async with await nats.connect(arguments.server, allow_reconnect=False, error_cb=quiet) as client:
                await follow(client.jetstream(), arguments.stream, arguments.subjects, state)
        except (nats.errors.Error, OSError, asyncio.TimeoutError) as error:
            # Whatever it was: begin again from the state, which is right at every moment.
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        await asyncio.sleep(0.5)


async def quiet(_):
    """What the client library would print itself comes to us as an exception as well."""


if __name__ == "__main__":
    asyncio.run(main())
