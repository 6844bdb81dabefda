"""Pages in a browser at the size of a large service, and what they say when something is away."""

from collections.abc import Iterator

import pytest
from browser import browsing, chromium_path
from console_page import Service, console_over, engines, large

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Fifty tasks, two hundred replicas."""
    chromium_path()
    found = large()
    with console_over(found):
        yield found


def test_two_hundred_replicas_are_paged_and_found(service: Service) -> None:
    """A page has 25; a search leaves what fits; what is marked or broken is seen."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/engines")
        page.get_by_role("cell", name="draft-000", exact=True).wait_for()
        rows = page.locator("tbody tr").filter(has=page.get_by_role("button", name="Steer"))
        assert rows.count() == 25
        page.get_by_text("1-25 of 200").wait_for()
        search = page.get_by_label("Search this table")
        search.fill("cordon")
        page.get_by_text("cordoned").wait_for()
        assert rows.count() == 1
        search.fill("draft-19")
        page.get_by_role("cell", name="draft-198", exact=True).wait_for()
        assert rows.count() == 5


def test_fifty_tasks_are_paged_and_found(service: Service) -> None:
    """On the overview as on the page of acceptance; a chart has few enough curves to be read."""
    with browsing(service.url) as browser:
        page = browser.page()
        for path in ("", "acceptance"):
            page.goto(f"{service.url}/console/{path}")
            page.get_by_role("link", name="task-00").wait_for()
            page.get_by_text("1-25 of 50").wait_for()
            page.get_by_label("Search this table").fill("task-49")
            page.get_by_role("link", name="task-49").wait_for()
            assert page.locator("td a").count() == 1


def test_it_says_that_redis_is_away(service: Service) -> None:
    """With the age of what is shown, and what that means; it goes when Redis is back."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/engines")
        page.get_by_role("cell", name="draft-000", exact=True).wait_for()
        service.redis_ago_s = 42.0
        page.get_by_text("Redis has been away for 42 s").wait_for()
        assert page.locator(".dot.late").count() == 1
        service.redis_ago_s = 0.1
        page.get_by_text("Redis has been away").wait_for(state="detached")


def test_it_says_that_no_router_answers(service: Service) -> None:
    """What was shown stays, with its age; the page goes on by itself when a router is back."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/engines")
        page.get_by_role("cell", name="draft-000", exact=True).wait_for()
        service.away = True
        page.get_by_text("No router answers").wait_for()
        assert page.get_by_role("cell", name="draft-000", exact=True).count() == 1
        service.bodies["/engines"] = engines(11)
        service.away = False
        page.get_by_text("No router answers").wait_for(state="detached")
        page.get_by_text("11 / 11").or_(page.get_by_text("10 / 11")).first.wait_for()
        service.bodies["/engines"] = engines(200)
