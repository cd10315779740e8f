"""Pages to measure: this module is added to a project's config/."""

import asyncio
import time

from accounts.models import User
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

CALL = 0.05  # seconds that another service takes to answer


def count(request: HttpRequest) -> HttpResponse:
    """Make one query, and answer with a number."""
    return HttpResponse(str(User.objects.count()))


def query(request: HttpRequest) -> HttpResponse:
    """Make one query, and render a page with the ten rows that it finds."""
    return render(request, "bench.html", {"users": User.objects.order_by("pk")[:10]})


def compute(request: HttpRequest) -> HttpResponse:
    """Keep the processor busy for some milliseconds."""
    return HttpResponse(str(sum(number * number for number in range(100_000))))


def wait(request: HttpRequest) -> HttpResponse:
    """Make one query, and wait for another service."""
    found = User.objects.count()
    time.sleep(CALL)
    return HttpResponse(str(found))


def wait_closed(request: HttpRequest) -> HttpResponse:
    """Do the same, and let others have the connection to the database meanwhile."""
    found = User.objects.count()
    connection.close()
    time.sleep(CALL)
    return HttpResponse(str(found))


async def wait_async(request: HttpRequest) -> HttpResponse:
    """Do the same without a thread of its own."""
    found = await User.objects.acount()
    await sync_to_async(lambda: connection.close())()  # in the thread that made the query
    await asyncio.sleep(CALL)
    return HttpResponse(str(found))


urlpatterns = [
    path("bench/count/", count),
    path("bench/query/", query),
    path("bench/compute/", compute),
    path("bench/wait/", wait),
    path("bench/wait-closed/", wait_closed),
    path("bench/wait-async/", wait_async),
]
