"""What `helm test` runs: the models are listed, and each answers one request. Standard library only."""

import json
import os
import sys
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
    _, listed = call(f"{url}/v1/models")
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
