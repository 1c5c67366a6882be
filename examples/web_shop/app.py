"""The shop on the web. Its workers share one node, which goes on without them: see README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import database
from orders import PlaceOrder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from saga_actors import (
    AsyncCoordinator,
    Compensated,
    CompensationFailed,
    Completed,
    ContextError,
    NodeUnreachableError,
    OverloadedError,
    SagaHeldError,
    SagaIdError,
    SagaTimeoutError,
    UnknownSagaError,
)

PATIENCE = 10.0
"""Seconds for which a customer is kept waiting."""

sagas = AsyncCoordinator("sqlite:///sagas.db", node="attach")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    database.open_shop("book", 10_000)
    yield
    await sagas.close()


async def place_order(request: Request) -> JSONResponse:
    """PUT /orders/{order_id}: the customer names the order, so sending it again cannot place it twice."""
    asked, order_id = await request.json(), request.path_params["order_id"]
    order = {"order_id": order_id, "item": "book", "count": int(asked["count"])}
    try:
        outcome = await sagas.run(PlaceOrder, order, saga_id=order_id, timeout=PATIENCE)
    except (SagaTimeoutError, SagaHeldError):  # it goes on; ask for it later
        return answer(202, "being placed")
    except (SagaIdError, ContextError) as error:  # another order has this id already, or it is no id
        return answer(422, str(error))
    except (NodeUnreachableError, OverloadedError):  # try again; the id makes that safe
        return answer(503, "closed for the moment", {"Retry-After": "1"})
    match outcome:
        case Completed(placed):
            return answer(201, "placed", paid=placed["paid"])
        case Compensated(failure):
            return answer(409, "not placed", why=failure.reason)
        case CompensationFailed():  # somebody is going to look after it
            return answer(202, "being placed")


async def show_order(request: Request) -> JSONResponse:
    """GET /orders/{order_id}; answered also while there is no node."""
    try:
        status = await sagas.status(request.path_params["order_id"])
    except (UnknownSagaError, SagaIdError):
        return answer(404, "unknown")
    return answer(200, str(status.state))


def show_books(request: Request) -> JSONResponse:
    """GET /books; not a coroutine, for the database is waited for."""
    return JSONResponse(database.books())


def answer(code: int, order: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    return JSONResponse({"order": order, **more}, code, headers)


app = Starlette(
    routes=[
        Route("/orders/{order_id}", place_order, methods=["PUT"]),
        Route("/orders/{order_id}", show_order, methods=["GET"]),
        Route("/books", show_books),
    ],
    lifespan=lifespan,
)
