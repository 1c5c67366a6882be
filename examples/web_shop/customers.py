"""Customers who do not give up: `python customers.py http://127.0.0.1:8000 300`.

Each places one order, and sends it again under the same id until it is told that it is placed, or not placed; whatever
dies meanwhile. Run it twice: the same orders get the same answers, and the books do not change.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_A_TIME = 8
GIVE_UP = 120.0


def place(url: str, number: int) -> dict[str, Any]:
    """The final answer to order number so-and-so."""
    body = json.dumps({"count": 1 + number % 7}).encode()
    until = time.monotonic() + GIVE_UP
    while time.monotonic() < until:
        code, said = send(urllib.request.Request(f"{url}/orders/ord_{number}", body, method="PUT"))
        if code in (201, 409):
            return said
        if code == 422:
            raise SystemExit(f"order {number}: {said}")
        time.sleep(0.2)  # nobody was there, or it is still being placed
    raise SystemExit(f"order {number} was not answered in {GIVE_UP:g} s")


def send(request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
    """The code and the document of an answer; 0 if there was none."""
    try:
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}") if error.code in (409, 422) else {}
    except (OSError, ValueError):
        return 0, {}


def main(url: str, orders: int) -> None:
    with ThreadPoolExecutor(AT_A_TIME) as customers:
        answers = list(customers.map(lambda number: place(url, number), range(orders)))
    told = Counter(answer["order"] for answer in answers)
    print(f"{told['placed']} placed, {told['not placed']} not; paid {sum(answer.get('paid', 0) for answer in answers)}")
    print("books:", send(urllib.request.Request(f"{url}/books"))[1])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
