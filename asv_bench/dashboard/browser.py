"""Headless Chromium over a published site, which is served here; nothing else is reached."""

import contextlib
import functools
import http.server
import os
import shutil
import threading


def chromium():
    """Return the path of an installed Chromium, or None; ``CHROMIUM`` names one."""
    names = ["chromium", "chromium-browser", "google-chrome"]
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serve(folder, handler=_Quiet):
    """Serve a folder at a free port of this machine, for the block; gives the address."""
    answer = functools.partial(handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def launched():
    """Start Chromium for the block; no name but this machine's address is resolved in it."""
    from playwright.sync_api import sync_playwright

    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-quic"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watched(browser, address, **options):
    """Open a page for the block, which may ask for nothing outside of an address.

    Gives the page, and a list of what went wrong: errors on the console, exceptions, and
    requests to elsewhere, which are refused.
    """
    wrong = []

    def route(route):
        if route.request.url.startswith(f"{address}/"):
            route.continue_()
        else:
            wrong.append(f"request: {route.request.url}")
            route.abort()

    context = browser.new_context(**options)
    context.route("**/*", route)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
    page.on(
        "console",
        lambda message: message.type == "error" and wrong.append(f"console: {message.text}"),
    )
    try:
        yield page, wrong
    finally:
        context.close()
