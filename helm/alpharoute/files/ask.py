"""What `helm test` runs: it is ready, lists its models, and each answers one request. Standard library only.

Where keys are needed and API_KEY holds none, that strangers are turned away is all that can be seen.
"""

import json
import os
import sys
import urllib.error
import urllib.request


def call(url: str, body: object = None) -> tuple[dict[str, str], dict[str, object]]:
    """Headers and JSON of an answer; raises urllib.error.HTTPError for anything but success."""
    headers = {"content-type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)


def main(url: str) -> None:
    """Ask each model once and print how it was routed."""
    _, ready = call(f"{url}/ready")
    assert ready["status"] == "ready", ready
    try:
        _, listed = call(f"{url}/v1/models")
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        if "API_KEY" in os.environ:
            sys.exit("the key in test.apiKeySecret is not accepted")
        print("ready; keys are needed and test.apiKeySecret names none")
        return
    models = [model["id"] for model in listed["data"]]
    assert models, "no model is listed"
    for model in models:
        messages = [{"role": "user", "content": "Say hello."}]
        headers, answer = call(
            f"{url}/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0}
        )
        assert answer["choices"], answer
        print(f"{model}: pool {headers['x-alpharoute-pool']}, k {headers['x-alpharoute-k']}")


if __name__ == "__main__":
    main(sys.argv[1])
