"""Pages in a browser at the size of a large service, and what they say when something is away."""

import time
from collections.abc import Iterator

import pytest
from browser import browsing, chromium_path
from console_page import SECRET, Service, console_over, drift, engines, large

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


def test_an_engine_is_reloaded_from_its_row(service: Service) -> None:
    """With the reason, and by force where that is chosen."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/engines")
        page.get_by_role("button", name="Steer draft-000").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Cordon:").click()
        dialog.get_by_text("Also where no other replica").wait_for(state="hidden")
        dialog.get_by_text("Reload:").click()
        dialog.get_by_text("Also where no other replica").click()
        dialog.get_by_label("Why").fill("new weights")
        dialog.get_by_role("button", name="Do it").click()
        page.get_by_text("draft-000: asked to reload").wait_for()
        assert service.changes.pop() == ("POST", "/engines/draft-000/reload", {"why": "new weights", "force": True})


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


def test_a_key_is_made_and_shown_once(service: Service) -> None:
    """With its limits and its end; once its dialog is closed it is nowhere on the page; others are rotated, revoked."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/keys")
        page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("team-b")
        dialog.get_by_label("Role").click()
        page.get_by_role("option", name="operator").click()
        dialog.get_by_label("Segments").fill("batch, chat")
        dialog.get_by_label("Requests in any minute").fill("60")
        dialog.get_by_label("Expires").fill("2027-03-31")
        dialog.get_by_role("button", name="Make the key").click()
        shown = page.get_by_label("The key", exact=True)
        shown.wait_for()
        assert shown.input_value() == SECRET
        limits = {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent": None}
        asked = {"id": "team-b", "role": "operator", "segments": ["batch", "chat"], "limits": limits}
        assert service.changes.pop() == ("POST", "/keys", {**asked, "expires": "2027-03-31T23:59:59Z"})
        page.get_by_role("button", name="I have it").click()
        shown.wait_for(state="detached")
        assert SECRET not in page.content()
        page.get_by_role("button", name="Change team-a").click()
        dialog.get_by_role("button", name="Do it").click()
        shown.wait_for()
        assert service.changes.pop() == ("POST", "/keys/team-a/rotate", {"overlap_s": 86_400})
        page.get_by_role("button", name="I have it").click()
        shown.wait_for(state="detached")
        page.get_by_role("button", name="Change team-a").click()
        dialog.get_by_text("Revoke:").click()
        dialog.get_by_role("button", name="Do it").click()
        page.get_by_text("team-a is revoked").wait_for()
        assert service.changes.pop() == ("DELETE", "/keys/team-a", None)


def test_settings_are_shown_with_stars(service: Service) -> None:
    """All of them, or only what differs from the default."""
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/settings")
        page.get_by_role("cell", name="router.sync_s").wait_for()
        assert page.get_by_role("cell", name="********").count() == 3
        page.get_by_text("Only what is not the default").click()
        page.get_by_role("cell", name="router.sync_s").wait_for(state="detached")
        assert page.get_by_role("cell", name="redis.password").count() == 1


def test_drift_is_marked_on_the_course_of_acceptance(service: Service) -> None:
    """Where it was, on the chart of its own record and within what is shown; others' drift is not."""
    service.bodies["/events"] = {"events": [drift(15), drift(20, "task-08"), drift(9 * 60)]}
    with browsing(service.url) as browser:
        page = browser.page()
        page.goto(f"{service.url}/console/acceptance")
        page.get_by_label("Search this table").fill("task-07")
        page.get_by_role("link", name="task-07").click()
        chart = page.get_by_label("acceptance over time")
        chart.locator("canvas").or_(chart.locator("svg")).first.wait_for()
        drawn = "e => getElement(Number(e.id.slice(1))).chart.getOption().series"  # what ECharts itself has drawn
        series = chart.evaluate(drawn)
        (marked,) = [one for one in series if one.get("markLine", {}).get("data")]
        (mark,) = marked["markLine"]["data"]
        assert mark["name"] == "drift"
        assert abs(mark["xAxis"] / 1000 - (time.time() - 15 * 60)) < 60
        assert len(marked["data"]) == 30
    service.bodies["/events"] = {"events": []}


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
