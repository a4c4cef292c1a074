#!/usr/bin/env python3
"""tls_idle.py PORT CONNECTIONS USERS: holds idle IMAP connections with TLS until its standard input ends."""
import asyncio
import json
import ssl
import sys

AT_ONCE = 64


async def hold(number, port, users, context, gate, held):
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 14)
        await reader.readline()
        for tag, command in (("1", f"LOGIN u{1 + number % users}@bench.test pw"), ("2", "SELECT INBOX")):
            writer.write(f"{tag} {command}\r\n".encode())
            while not (line := await reader.readline()).startswith(f"{tag} ".encode()):
                if not line:
                    raise ConnectionError("closed")
            if b" OK" not in line[:6]:
                raise ConnectionError(line.decode())
        writer.write(b"3 IDLE\r\n")
        while not (await reader.readline()).startswith(b"+"):
            pass
        held.append(writer)


async def main():
    port, count, users = map(int, sys.argv[1:4])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    gate, held = asyncio.Semaphore(AT_ONCE), []
    await asyncio.gather(*(hold(n, port, users, context, gate, held) for n in range(count)), return_exceptions=True)
    print(json.dumps({"up": len(held)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
