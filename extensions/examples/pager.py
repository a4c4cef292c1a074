#!/usr/bin/env python3
"""Pages somebody for every new message: a subscriber of Hikyaku's events in forty lines.

Usage: pager.py HOST:PORT TOKEN_FILE COMMAND...   (the command gets "ACCOUNT: FROM: SUBJECT" as its last argument)
docs/extensions.md tells how extension_pb2 and extension_pb2_grpc are made, and what cluster.toml needs."""

import email
import email.header
import subprocess
import sys

import grpc

import extension_pb2 as api
import extension_pb2_grpc


def readable(field):
    return str(email.header.make_header(email.header.decode_header(field or "")))


def page(server, auth, account, event, command):
    for uids in event.uids:
        for uid in range(uids.first, uids.last + 1):
            wanted = api.FetchRequest(account=account, folder=event.folder, uid=uid, section="HEADER")
            try:
                text = b"".join(piece.data for piece in server.Fetch(wanted, metadata=auth))
            except grpc.RpcError:
                continue  # It was moved or deleted in the meantime.
            header = email.message_from_bytes(text)
            line = f"{account}: {readable(header['From'])}: {readable(header['Subject'])}"
            subprocess.run([*command, line], check=True)


def main(address, token_file, *command):
    auth = [("authorization", "Bearer " + open(token_file).read().strip())]
    server = extension_pb2_grpc.ExtensionsStub(grpc.insecure_channel(address))
    for batch in server.Subscribe(api.SubscribeRequest(events=["arrived"]), metadata=auth):
        for event in batch.events.events:
            if event.folder == "INBOX":
                page(server, auth, batch.account, event, command)
        # Only now: what was not acknowledged comes again, also after a restart.
        server.Acknowledge(api.AcknowledgeRequest(id=batch.id), metadata=auth)


if __name__ == "__main__":
    main(*sys.argv[1:])
