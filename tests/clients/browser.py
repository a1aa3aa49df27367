"""Pages in headless Chromium use presigned URLs and post presigned forms to another origin; so do pages that may not."""

import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.request

import boto3
from botocore.client import Config

from scenario import ENDPOINT, expect_equal, main, skip

BROWSERS = ["chromium-headless-shell", "chromium"]
# A page that does not report in this time has failed.
PAGE_SECONDS_MAX = 90

# Does what /plan says, one step after the other, and tells /report what became of each.
PAGE = b"""<!doctype html><title>page</title><script>
async function step({url, method, body, headers, form, file}) {
    try {
        if (form) {
            body = new FormData();
            for (const [name, value] of Object.entries(form)) body.append(name, value);
            body.append("file", new File([file], "page.txt"));
        }
        const answer = await fetch(url, {method, body, headers});
        return {status: answer.status, etag: answer.headers.get("etag"), text: await answer.text()};
    } catch (error) {
        return {error: error.name};
    }
}
(async () => {
    const plan = await (await fetch("/plan")).json();
    const report = [];
    for (const each of plan) report.push(await step(each));
    await fetch("/report", {method: "POST", body: JSON.stringify(report)});
})();
</script>"""


class Page(http.server.ThreadingHTTPServer):
    """Serves the page and its plan, and waits for its report."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = []
        self.report = None
        self.reported = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def origin(self):
        return f"http://localhost:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        plan = self.path == "/plan"
        body = json.dumps(self.server.plan).encode() if plan else PAGE
        self.answer(body, "application/json" if plan else "text/html")

    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(b"", "text/plain")
        self.server.reported.set()

    def answer(self, body, content_type):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def browse(page, plan):
    """Opens the page in a browser of its own, which remembers nothing, and gives what the page reports."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        skip("chromium is not installed")
    page.plan, page.report = plan, None
    page.reported.clear()
    with tempfile.TemporaryDirectory() as profile, open(os.path.join(profile, "log"), "wb") as log:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", page.origin + "/"]
        browser = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            if not page.reported.wait(PAGE_SECONDS_MAX):
                with open(log.name, "rb") as printed:
                    raise SystemExit(f"the page reported nothing:\n{printed.read().decode(errors='replace')}")
        finally:
            # The browser's processes are one group, of which it is the leader.
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
    return page.report


def preflights():
    """How many preflights the server has answered, by status."""
    with urllib.request.urlopen(os.environ["OPS_ENDPOINT"] + "/metrics") as metrics:
        text = metrics.read().decode()
    prefix = 'cairn_requests_total{operation="Preflight",status="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line[:3]: int(line.split()[-1]) for line in lines}


def presigned():
    port = ENDPOINT.rsplit(":", 1)[1]
    s3 = boto3.client("s3", endpoint_url=ENDPOINT)
    # The bucket is in the host, which Chromium resolves to the loopback address by itself.
    virtual = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    signer = boto3.client("s3", endpoint_url=f"http://s3.localhost:{port}", config=virtual)
    allowed, other = Page(), Page()
    s3.create_bucket(Bucket="browser")
    rule = {"AllowedOrigins": [allowed.origin], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["content-type"],
            "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 600}
    s3.put_bucket_cors(Bucket="browser", CORSConfiguration={"CORSRules": [rule]})
    expect_equal(s3.get_bucket_cors(Bucket="browser")["CORSRules"], [rule], "the rules")

    def url(operation, key):
        return signer.generate_presigned_url(operation, Params={"Bucket": "browser", "Key": key}, ExpiresIn=300)

    put = {"method": "PUT", "url": url("put_object", "key"), "headers": {"content-type": "text/x-page"}}
    get = {"method": "GET", "url": url("get_object", "key")}
    expect_equal(put["url"].split("/")[2], f"browser.s3.localhost:{port}", "the host of a presigned URL")

    before = preflights()
    plan = [{**put, "body": "first"}, {**put, "body": "second"}, get, {"method": "GET", "url": url("get_object", "none")}]
    first, second, got, missing = browse(allowed, plan)
    etag = s3.head_object(Bucket="browser", Key="key")["ETag"]
    expect_equal((first["status"], second["status"], second["etag"]), (200, 200, etag), "two uploads")
    expect_equal((got["status"], got["text"], got["etag"]), (200, "second", etag), "a download")
    expect_equal((missing["status"], "NoSuchKey" in missing["text"]), (404, True), "an error")
    after = preflights()
    # The browser remembers the answer to the first; a plain GET needs none.
    expect_equal(after.get("200", 0) - before.get("200", 0), 1, "preflights of the page that may")

    report = browse(other, [{**put, "body": "third"}, get])
    expect_equal(report, [{"error": "TypeError"}] * 2, "what the page of another origin saw")
    expect_equal(s3.get_object(Bucket="browser", Key="key")["Body"].read(), b"second", "the object after that")
    refused = preflights()
    expect_equal(refused.get("403", 0) - after.get("403", 0), 1, "preflights of the page that may not")

    s3.delete_bucket_cors(Bucket="browser")
    expect_equal(browse(allowed, [{**put, "body": "fourth"}]), [{"error": "TypeError"}], "without the rules")


def forms():
    s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))
    allowed, other = Page(), Page()
    s3.create_bucket(Bucket="browser-forms")
    rule = {"AllowedOrigins": [allowed.origin], "AllowedMethods": ["POST"], "ExposeHeaders": ["ETag"]}
    s3.put_bucket_cors(Bucket="browser-forms", CORSConfiguration={"CORSRules": [rule]})

    def post(key, file, **fields):
        conditions = [{name: value} for name, value in fields.items()]
        conditions.append(["content-length-range", 1, 20])
        form = s3.generate_presigned_post("browser-forms", key, Fields=dict(fields), Conditions=conditions)
        return {"method": "POST", "url": form["url"], "form": form["fields"], "file": file}

    def stored(key):
        return s3.get_object(Bucket="browser-forms", Key=key)["Body"].read().decode()

    plan = [post("one", "content"), post("${filename}", "of a page", success_action_status="201")]
    plan.append(post("long", "x" * 21))
    one, two, refused = browse(allowed, plan)
    etag = s3.head_object(Bucket="browser-forms", Key="one")["ETag"]
    expect_equal((one["status"], one["etag"], one["text"]), (204, etag, ""), "an answer without content")
    expect_equal((two["status"], "<Key>page.txt</Key>" in two["text"]), (201, True), two["text"])
    expect_equal((stored("one"), stored("page.txt")), ("content", "of a page"), "what was stored")
    # The page is told as well what is wrong with its form.
    expect_equal((refused["status"], "EntityTooLarge" in refused["text"]), (400, True), "a refusal")

    # No preflight comes before a form, or it would not be sent from here. Its signature counts: it is stored, and the page is
    # not told.
    report = browse(other, [post("other", "unread", success_action_status="201")])
    expect_equal(report, [{"error": "TypeError"}], "what the page of another origin saw")
    expect_equal(stored("other"), "unread", "what it stored")
    unsigned = {"method": "POST", "url": plan[0]["url"], "form": {"key": "unsigned"}, "file": "x"}
    expect_equal(browse(other, [unsigned]), [{"error": "TypeError"}], "a form that nobody signed")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="browser-forms")["Contents"]]
    expect_equal(keys, ["one", "other", "page.txt"], "the keys after that")


if __name__ == "__main__":
    main(globals())
