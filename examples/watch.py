#!/usr/bin/env python3
"""Follows Tagtrail's events over gRPC: in order, none missed, none twice, whatever becomes of the server or of this program.

    watch.py --namespace team --tag prod --kind tag-moved --state prod.json

Needs grpcio and grpcio-tools (pip install grpcio grpcio-tools), which make the client out of proto/ when this starts.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import grpc


class State:
    """How far we are, in a small file. Delete it to begin from the start."""

    def __init__(self, path):
        self.path = Path(path)
        # The log that the sequence is of, and up to where everything was handled or was not for us.
        self.log, self.sequence = "", 0
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
    print(event.sequence, event.WhichOneof("fact"), f"{event.namespace}/{event.stream}", event.tag_moved.item.image, flush=True)


def follow(channel, api, services, wanted, state):
    """Watches until the server ends it, or is gone."""
    log = services.AdminServiceStub(channel).GetStatus(api.GetStatusRequest(), timeout=10).log_id
    if state.log not in ("", log):
        sys.exit(f"{state.path} is of the log {state.log}, and the server has {log}: delete the file to begin anew")
    state.log = log
    request = api.WatchRequest(after_sequence=state.sequence, log_id=log, **wanted)
    for answer in services.EventServiceStub(channel).Watch(request):
        if answer.HasField("event"):
            handle(answer.event)
            state.sequence = answer.event.sequence
        else:
            # Nothing for us happened up to here. Whoever remembers that does not read it all again next time.
            state.sequence = answer.bookmark.sequence
        state.save()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--namespace", default="", help="only of this one")
    arguments.add_argument("--stream", default="", help="only of this image stream; needs --namespace")
    arguments.add_argument("--tag", default="", help="only about tags of this name")
    arguments.add_argument("--kind", action="append", default=[], dest="kinds", help="such as tag-moved; may be repeated")
    arguments.add_argument("--state", default="tagtrail-watch.json", help="the file that remembers how far we are")
    arguments.add_argument("--server", default="127.0.0.1:7400", help="host:port")
    arguments.add_argument("--proto", default=Path(__file__).parent.parent / "proto", help="where tagtrail/v1/*.proto are")
    arguments = arguments.parse_args()
    sys.path.insert(0, str(arguments.proto))
    api, services = grpc.protos_and_services("tagtrail/v1/services.proto")
    wanted = {name: getattr(arguments, name) for name in ("namespace", "stream", "tag", "kinds")}
    state = State(arguments.state)
    # A server that is gone without a word is noticed: it answers a ping every 20 seconds. One that comes back is found soon.
    options = [
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    while True:
        try:
            with grpc.insecure_channel(arguments.server, options) as channel:
                follow(channel, api, services, wanted, state)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
                # What is asked for is wrong, or the log is shorter than what we have seen of it: an older copy of it was put back.
                sys.exit(error.details())
            # Cut off for being slow, a restart, a network: begin again from the state, which is right at every moment.
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
