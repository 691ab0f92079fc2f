"""A mail server for the tests: aiosmtpd, with an inbox of JSON files and a mood that the tests choose.

It writes its port as the first line of its output. It reads the file `mood` in its inbox whenever somebody names a
recipient or has sent a message: `ok`, an SMTP code to answer a recipient with, or `vanish`, which keeps the message and
then cuts the connection without an answer.
"""

import argparse
import asyncio
import itertools
import json
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Inbox:
    def __init__(self, folder):
        self.folder = folder
        self.numbers = itertools.count(len([name for name in os.listdir(folder) if name.endswith(".json")]))

    def mood(self):
        try:
            with open(os.path.join(self.folder, "mood"), encoding="ascii") as file:
                return file.read().strip()
        except FileNotFoundError:
            return "ok"

    def note(self, session, command):
        with open(os.path.join(self.folder, "commands"), "a", encoding="ascii") as file:
            file.write(f"{command} {'encrypted' if session.ssl else 'clear'}\n")

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.note(session, "EHLO")
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.note(session, "MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.note(session, "RCPT")
        mood = self.mood()
        if mood.isdigit():
            return f"{mood} {mood[0]}.7.1 <{address}> is not for us today"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None,
            "user": session.auth_data.decode() if session.authenticated else None,
            "hello": session.host_name,
            "text": envelope.original_content.decode("utf-8"),
        }
        path = os.path.join(self.folder, f"{next(self.numbers):04}.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(message, file)
        os.rename(path + ".new", path)
        if self.mood() == "vanish":
            server.transport.abort()
        return "250 kept"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inbox", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", choices=["none", "starttls", "tls"], default="none")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    options = parser.parse_args()

    inbox = Inbox(options.inbox)
    context = None
    if options.tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)

    def authenticate(server, session, envelope, mechanism, login):
        inbox.note(session, "AUTH")
        right = (login.login, login.password) == (options.user.encode(), options.password.encode())
        return AuthResult(success=right, handled=right, auth_data=login.login)

    def connection():
        server = SMTP(
            inbox,
            hostname="mail.test",
            enable_SMTPUTF8=False,
            tls_context=context if options.tls == "starttls" else None,
            require_starttls=options.tls == "starttls",
            authenticator=authenticate if options.user else None,
            auth_required=bool(options.user),
            auth_require_tls=options.tls == "starttls",
        )
        return server

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        connection, "127.0.0.1", options.port, ssl=context if options.tls == "tls" else None
    )
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


asyncio.run(main())
