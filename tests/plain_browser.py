"""A browser without JavaScript: it keeps cookies, follows redirects, and fills in the forms it is shown."""

import html
import html.parser
import http.client
import re
import urllib.parse
import uuid

import harness


class Form:
    """A form of a page: its fields as they stand, and its buttons."""

    def __init__(self, action, method, multipart):
        self.action, self.method, self.multipart = action, method.lower(), multipart
        self.fields, self.buttons, self.boxes = [], [], []

    def names(self):
        return {name for name, _ in self.fields} | {name for name, _ in self.boxes} | {name for name, _ in self.buttons}


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms, self.links, self.form, self.area, self.select, self.text = [], [], None, None, None, []
        self.hidden = 0

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        if tag in ("script", "style"):
            self.hidden += 1
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        elif tag == "form":
            self.form = Form(of.get("action", ""), of.get("method", "get"), "multipart" in of.get("enctype", ""))
            self.forms.append(self.form)
        elif self.form is None:
            return
        elif tag == "input":
            self._input(of)
        elif tag == "textarea":
            self.area = [of.get("name"), ""]
        elif tag == "select":
            self.select = [of.get("name"), None]
        elif tag == "option" and self.select:
            if self.select[1] is None or "selected" in of:
                self.select[1] = of.get("value", "")
                self.option = "value" not in of
        elif tag == "button" and of.get("name"):
            self.form.buttons.append((of["name"], of.get("value", "")))

    def _input(self, of):
        kind, name, value = of.get("type", "text"), of.get("name"), of.get("value")
        if not name or kind == "file":
            return
        if kind in ("checkbox", "radio"):
            self.form.boxes.append((name, value or "on"))
            if "checked" in of:
                self.form.fields.append((name, value or "on"))
        else:
            self.form.fields.append((name, value or ""))

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.hidden -= 1
        if tag == "form":
            self.form = None
        elif tag == "textarea" and self.area and self.form:
            self.form.fields.append((self.area[0], self.area[1].removeprefix("\n")))
            self.area = None
        elif tag == "select" and self.select and self.form:
            self.form.fields.append((self.select[0], self.select[1] or ""))
            self.select = None

    def handle_data(self, data):
        if self.area:
            self.area[1] += data
        elif self.select and getattr(self, "option", False):
            self.select[1], self.option = data.strip(), False
        if not self.hidden:
            self.text.append(data)


class Page:
    """An answer: status, headers, body, and what stands in it."""

    def __init__(self, path, status, headers, body):
        self.path, self.status, self.headers, self.body = path, status, headers, body
        self.html = body.decode(errors="replace") if "html" in headers.get("content-type", "") else ""
        reader = _Reader()
        reader.feed(self.html)
        self.forms, self.links = reader.forms, reader.links
        self.text = " ".join(" ".join(reader.text).split())

    def form(self, action=None, button=None):
        """The first form with this action that has this button."""
        for form in self.forms:
            if action is not None and form.action != action:
                continue
            if button is None or any(value == button for _, value in form.buttons):
                return form
        raise AssertionError(f"no form {action} with {button} on {self.path}:\n{self.text[:1500]}")

    def notice(self):
        found = re.search(r'<(?:div|p) class="notice [^"]*"[^>]*>(.*?)<', self.html, re.S)
        return " ".join(html.unescape(found[1]).split()) if found else ""


class Browser:
    """One browser at one node."""

    def __init__(self, server, service="http", headers=None):
        self.server, self.service = server, service
        self.cookies, self.headers = {}, dict(headers or {})

    def request(self, method, path, body=None, headers=None, follow=True):
        for _ in range(10):
            page = self._once(method, path, body, headers or {})
            location = page.headers.get("location")
            if not follow or page.status not in (301, 302, 303, 307, 308) or not location:
                return page
            if page.status in (302, 303):
                method, body = "GET", None
            path = urllib.parse.urljoin(path, location)
        raise AssertionError(f"{path}: it goes round in circles")

    def _once(self, method, path, body, headers):
        port = self.server.ports[self.service]
        if self.service == "https":
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=harness.trusting_tls())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        scheme = "https" if self.service == "https" else "http"
        sent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0", **self.headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            sent.setdefault("Origin", f"{scheme}://127.0.0.1:{port}")
            sent.setdefault("Sec-Fetch-Site", "same-origin")
        sent.update(headers)
        connection.request(method, path, body=body, headers={k: v for k, v in sent.items() if v is not None})
        answer = connection.getresponse()
        got = answer.read()
        for line in answer.headers.get_all("set-cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            if value and "max-age=0" not in line.lower():
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        connection.close()
        return Page(path, answer.status, {k.lower(): v for k, v in answer.getheaders()}, got)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def submit(self, form, button=None, fields=(), files=(), follow=True, drop=(), headers=None):
        """Sends a form as it stands, but for `fields`; `files`: (name, file name, media type, bytes)."""
        fields = dict(fields)
        pairs = [(name, value) for name, value in form.fields if name not in fields and name not in drop]
        for name, value in fields.items():
            pairs += [(name, it) for it in value] if isinstance(value, list) else [(name, value)]
        if button:
            # A script may send what no button does.
            pairs.append((next((name for name, value in form.buttons if value == button), "do"), button))
        if form.method == "get":
            return self.get(f"{form.action}?{urllib.parse.urlencode(pairs)}")
        if form.multipart:
            kind, body = multipart(pairs, files)
        else:
            kind, body = "application/x-www-form-urlencoded", urllib.parse.urlencode(pairs).encode()
        return self.request("POST", form.action, body, {"Content-Type": kind, **(headers or {})}, follow)

    def login(self, address, password=harness.PASSWORD, remember=False):
        """The page behind the log-in."""
        form = self.get("/login").form("/login")
        fields = {"address": address, "password": password}
        if remember:
            fields["remember"] = "1"
        return self.submit(form, fields=fields)

    def is_in(self):
        return self.get("/settings", follow=False).status == 200


def multipart(pairs, files):
    mark = uuid.uuid4().hex
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in pairs]
    for name, file_name, media, data in files:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\nContent-Type: {media}\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return f"multipart/form-data; boundary={mark}", b"".join(parts) + f"--{mark}--\r\n".encode()
