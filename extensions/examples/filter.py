#!/usr/bin/env python3
"""Asks a program about every message before it is answered: a deciding extension of Hikyaku in a few lines.

Usage: filter.py HOST:PORT[,HOST:PORT...] TOKEN_FILE COMMAND...
The command gets the message on its input; exit code 0: keep it, 1: into Junk, 2: refuse it. Of several nodes of a cluster one is asked by,
and the next one when that ends. `filter.py HOST:PORT TOKEN_FILE spamc -c` is a spam filter. docs/extensions.md tells how extension_pb2 and
extension_pb2_grpc are made, and what cluster.toml needs."""

import concurrent.futures
import itertools
import shutil
import subprocess
import sys
import time

import grpc

import extension_pb2 as api
import extension_pb2_grpc

FINAL = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
VERDICTS = {1: api.Verdict(folder="\\Junk", add_flags=["filtered"]), 2: api.Verdict(ruling="refuse")}


def decide(server, auth, question, command):
    try:
        # Of a large message this is the beginning.
        code = subprocess.run(command, input=question.message, timeout=question.deadline_ms / 1000, stdout=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        return
    verdicts = [VERDICTS[code]] if code in VERDICTS else []
    try:
        server.Answer(api.AnswerRequest(id=question.id, verdicts=verdicts), metadata=auth)
    except grpc.RpcError as error:
        # Late, most likely: the message has gone on.
        print(error.details(), file=sys.stderr)


def main(addresses, token_file, *command):
    if not command or not shutil.which(command[0]):
        sys.exit(f"{command[0] if command else 'COMMAND'}: not found: name a program that is in the PATH, or its whole path")
    auth = [("authorization", "Bearer " + open(token_file).read().strip())]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for address in itertools.cycle(addresses.split(",")):
            server = extension_pb2_grpc.ExtensionsStub(grpc.insecure_channel(address))
            try:
                for question in server.Decide(api.DecideRequest(), metadata=auth):
                    pool.submit(decide, server, auth, question, command)
            except grpc.RpcError as error:
                print(f"{address}: {error.details()}", file=sys.stderr)
                if error.code() in FINAL:
                    sys.exit(1)
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
