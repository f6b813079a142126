"""The page itself, one copy per viewer: cards that are kept up to date, and the buttons."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import panel as pn

from zoneplate.acquisition.control.channel import ask
from zoneplate.acquisition.control.wishes import Action, ControlRefused, may

from .access import Access, Visitor
from .board import CARDS, Board
from .gate import LONGEST_TOKEN, cookie_name

UPDATE_MS = 200
"""Between two looks of a viewer at the cards: five a second."""

TITLE = "zoneplate live"

EXPLAINED = {
    Action.PAUSE: "Pause after this frame?",
    Action.RESUME: "Go on?",
    Action.SKIP_REGION: "End this region now? What was taken of it does not count.",
    Action.STOP_AFTER_REGION: "End the screening after this region?",
    Action.ABORT: "Abort the scan? It ends at once, and the run is marked as aborted.",
}


def page(board: Board, access: Access, port: Callable[[], int]) -> Callable[[], Any]:
    """Return what makes the page for each viewer."""
    style = (files("zoneplate.acquisition.page") / "page.css").read_text(encoding="utf-8")

    def make() -> Any:
        morsel = pn.state.cookies.get(cookie_name(port()), "")
        visitor = access.visitor(str(morsel)[:LONGEST_TOKEN])
        if visitor is None:  # the gate let nobody through without: this is a second lock
            return pn.pane.Str("A token is needed.")
        cards = board.look()
        panes = {name: _card(name, cards[name], style) for name in CARDS}
        shown = dict(cards)

        def update() -> None:
            for name, html in board.look().items():
                if shown[name] != html:
                    shown[name] = html
                    panes[name].object = html

        pn.state.add_periodic_callback(update, period=UPDATE_MS)
        column = [panes["status"]]
        if may(visitor.role, Action.PAUSE):
            column.append(_buttons(board, visitor, style))
        grid = pn.Column(
            *(panes[name] for name in CARDS if name != "status"),
            sizing_mode="stretch_width",
            css_classes=["grid"],
            stylesheets=[style],
        )
        return pn.Column(
            *column, grid, sizing_mode="stretch_width", css_classes=["page"], stylesheets=[style]
        )

    return make


def _card(name: str, html: str, style: str) -> Any:
    return pn.pane.HTML(
        html,
        sizing_mode="stretch_width",
        css_classes=["card", f"card-{name}"],
        stylesheets=[style],
        margin=0,
        sanitize_html=False,  # every value in it was escaped by its template
    )


def _buttons(board: Board, visitor: Visitor, style: str) -> Any:
    """Return the buttons of what a visitor may do; each asks before it does anything."""
    says = pn.pane.Str("", css_classes=["says"], stylesheets=[style], margin=(4, 8))
    question = pn.pane.Str("", css_classes=["question"], stylesheets=[style], margin=(6, 8))
    yes = pn.widgets.Button(name="Yes", button_type="danger", css_classes=["yes"], width=80)
    no = pn.widgets.Button(name="No", css_classes=["no"], width=80)
    confirm = pn.Row(question, yes, no, visible=False, css_classes=["confirm"])
    asked: list[Action] = []

    def choose(action: Action) -> Callable[[Any], None]:
        def clicked(_: Any) -> None:
            asked[:] = [action]
            question.object = EXPLAINED[action]
            confirm.visible, says.object = True, ""

        return clicked

    def agreed(_: Any) -> None:
        confirm.visible = False
        if not asked:
            return
        action, via = asked.pop(), "page"
        try:
            says.object = ask(board.data.root, action, visitor.name, visitor.role, via)
        except ControlRefused as refusal:
            says.object = f"Not done: {refusal}"

    def declined(_: Any) -> None:
        asked.clear()
        confirm.visible = False

    yes.on_click(agreed)
    no.on_click(declined)
    row: list[Any] = []
    for action in Action:
        if may(visitor.role, action):
            button = pn.widgets.Button(
                name=action.value.capitalize(),
                button_type="danger" if action is Action.ABORT else "default",
                css_classes=["action"],
                margin=(4, 4),
            )
            button.on_click(choose(action))
            row.append(button)
    return pn.Column(
        pn.FlexBox(*row), confirm, says, css_classes=["control"], sizing_mode="stretch_width"
    )
