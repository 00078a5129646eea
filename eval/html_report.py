"""report.html: one page per task, and one over all tasks, each a single file without scripts.

A page has what a reader needs to believe a score, in this order: the scores between their yardsticks, the
paper's rows where there are some, what the task module has to say (confusion matrix, scores of single
classes), samples with truth and answer, and where everything comes from. Pictures are JPEGs inside the page;
texts of models and files are escaped (`eval.markup`). The same results give the same bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from eval.beside import Beside, beside
from eval.charts import Bar, Kind, Series, confusion_map, interval_plot, radar
from eval.html_style import STYLE
from eval.markup import Content, Markup, element, joined
from eval.report import best_baseline, facts, format_cell, format_value, is_baseline, words
from rsunivlm.tasks import Task

_JPEG_QUALITY = 85
_CEILING = "codec_ceiling"


@dataclass(frozen=True)
class Sample:
    """One question as it is shown: a picture with truth and answer drawn, and the words below it."""

    picture: Image.Image
    heading: str
    caption: str


@dataclass(frozen=True)
class TaskReport:
    """The part of a report that is about one task."""

    results: Mapping[str, Any]
    body: Markup


def task_report(results: Mapping[str, Any], prompts: Iterable[str], samples: Sequence[Sample]) -> TaskReport:
    """Everything about one task.

    Args:
        results: content of `results.json`.
        prompts: of all questions; shown where they are all the same.
        samples: questions to show; none where the images are not there.
    """
    published = beside(Task(results["task"]), results["benchmark"], results["split"])
    details = dict(results["details"])
    confusion = details.pop("confusion", None)
    return TaskReport(
        results,
        joined(
            [
                _notes(results),
                _scores(results),
                _plots(results),
                _beside(published, results["metrics"]) if published else None,
                _confusion(confusion) if confusion else None,
                _details(details),
                _samples(samples, list(dict.fromkeys(prompts)), Task(results["task"]).answer_kind != "text"),
                _origin(results),
            ]
        ),
    )


def task_page(report: TaskReport) -> str:
    """The page of one task."""
    return _page(_title(report.results), report.body)


def overview_page(reports: Sequence[TaskReport]) -> str:
    """The page over several tasks: one table, a radar, and below them the part of each task."""
    first = reports[0].results
    links = [element("a", report.results["task"], href=f"#{report.results['task']}") for report in reports]
    parts = [
        element("section", _overview(reports)),
        _radar(reports) if len(reports) > 2 else None,
        element("nav", "Tasks: ", [[link, " "] for link in links]),
        [
            [element("h1", _title(report.results), id=report.results["task"]), report.body]
            for report in reports
        ],
    ]
    return _page(f"{first['model']['id']} on {first['benchmark']}: {len(reports)} tasks", parts)


def _page(title: str, *content: Content) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element("body", element("main", element("h1", title), content))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _title(results: Mapping[str, Any]) -> str:
    return f"{results['task']} on {results['benchmark']} ({results['split']}), {results['n']} questions"


def _notes(results: Mapping[str, Any]) -> Markup:
    known = facts(results)
    lines = [
        f"questions: {known['questions']}",
        f"unparsable answers: {known['unparsable']}",
        *results["notes"],
    ]
    return element("ul", [element("li", line) for line in lines], class_="notes")


def _scores(results: Mapping[str, Any]) -> Markup:
    metrics, yardsticks = results["metrics"], results["yardsticks"]
    header = ["per cent [95 % interval]", "model", *map(words, yardsticks)]
    rows = [
        [words(name), format_cell(cell), *(format_cell(cells[name]) for cells in yardsticks.values())]
        for name, cell in metrics.items()
    ]
    baselines = [name for name in results["margins"] if is_baseline(name)]
    gains = [
        [words(metric), *(format_cell(results["margins"][name][metric]) for name in baselines)]
        for metric in metrics
    ]
    parts = [element("h2", "Scores"), _table(header, rows, strong=1)]
    if baselines:
        parts += [
            element("h2", "Gain over the baselines, question by question"),
            _table(["per cent [95 % interval]", *map(words, baselines)], gains),
        ]
    return element("section", parts)


def _plots(results: Mapping[str, Any]) -> Markup:
    plots = []
    for metric, cell in results["metrics"].items():
        bars = [Bar("model", "model", cell["value"], cell["low"], cell["high"])]
        for name, cells in results["yardsticks"].items():
            kind: Kind = "baseline" if is_baseline(name) else "bound"
            bars.append(Bar(words(name), kind, **cells[metric]))
        plots.append(interval_plot(words(metric), bars))
    return element("section", element("h2", "Model and yardsticks"), element("div", plots, class_="plots"))


def _beside(published: Beside, metrics: Mapping[str, Any]) -> Markup:
    rows: list[list[Content]] = [
        [name, *(format_cell(metrics[metric]) if metric in metrics else "-" for metric in mine)]
        for name, mine in published.ours
    ]
    for cells in published.rows:
        rows.append([[cell.text, element("sup", cell.marks) if cell.marks else None] for cell in cells])
    notes = [
        element("li", element("sup", letter) if letter else None, " " if letter else None, text)
        for letter, text in published.notes
    ]
    return element(
        "section",
        element("h2", published.title),
        _table(["as printed", *published.columns], rows, strong_rows=len(published.ours)),
        element("ul", notes, class_="footnotes"),
    )


def _confusion(confusion: Mapping[str, Any]) -> Markup:
    text = "Rows are true classes, columns answers; the darker a cell, the more of its true class is there."
    return element(
        "section",
        element("h2", "Confusion matrix"),
        element("p", text),
        element("div", confusion_map(confusion["columns"], confusion["counts"]), class_="scroll"),
    )


def _details(details: Mapping[str, Any]) -> Markup:
    """What a task module says beside its metrics: tables where it is a table, else a list of facts."""
    tables, plain = [], {}
    for name, value in details.items():
        nested = (
            isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values())
        )
        if nested:
            tables.append([element("h3", words(name)), _nested_table(value)])
        else:
            plain[words(name)] = _brief(value)
    return element("section", element("h2", "Details, shares as fractions"), _facts(plain), tables)


def _nested_table(rows: Mapping[str, Mapping[str, Any]]) -> Markup:
    """A row per name; where some values are tables themselves, a row per name and name within."""
    flat: list[tuple[str, dict[str, Any]]] = []
    for name, row in rows.items():
        inner = {key: value for key, value in row.items() if isinstance(value, Mapping)}
        outer = {key: value for key, value in row.items() if key not in inner}
        if inner:
            flat += [(f"{name}: {words(key)}", outer | dict(value)) for key, value in inner.items()]
        else:
            flat.append((name, outer))
    columns = list(dict.fromkeys(key for _, row in flat for key in row))
    body = [[name, *(_brief(row.get(column)) for column in columns)] for name, row in flat]
    return _table(["", *map(words, columns)], body)


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_brief(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_brief, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _samples(samples: Sequence[Sample], prompts: Sequence[str], drawn: bool) -> Markup:
    shown = [
        element(
            "figure",
            element("img", src=_data_uri(sample.picture), alt=sample.heading),
            element("figcaption", element("b", sample.heading), element("br"), sample.caption),
        )
        for sample in samples
    ]
    same = f"Every question: {prompts[0]}" if len(prompts) == 1 else None
    legend = [
        "Truth ",
        element("b", "green", class_="truth"),
        ", answer ",
        element("b", "red", class_="answer"),
    ]
    return element(
        "section",
        element("h2", "Samples: worst, best, random"),
        element("p", same) if same else None,
        None if shown else element("p", "The images are not here, so there are no pictures."),
        element("p", legend) if shown and drawn else None,
        element("div", shown, class_="samples"),
    )


def _origin(results: Mapping[str, Any]) -> Markup:
    interval = results["interval"]
    known: dict[str, str] = {
        "protocol": _brief(results["protocol"]),
        "model": _brief(results["model"]),
        "decoder": _brief(results["decoder"]),
        "intervals": f"{interval['method']}, {interval['resamples']} draws with seed {interval['seed']}",
        "questions": f"SHA-256 {results['questions_sha256']}",
        "predictions": f"SHA-256 {results['predictions_sha256']}",
        **{words(name): text for name, text in results["definitions"].items()},
    }
    return element("section", element("h2", "Where this comes from"), _facts(known))


def _overview(reports: Sequence[TaskReport]) -> Markup:
    header = [
        "task",
        "metric",
        "model",
        "codec ceiling",
        "best baseline",
        "",
        "gain",
        "questions",
        "unparsable",
    ]
    rows = []
    for report in reports:
        results = report.results
        metric = next(iter(results["metrics"]))
        best = best_baseline(results, metric)
        ceiling = results["yardsticks"].get(_CEILING)
        rows.append(
            [
                element("a", results["task"], href=f"#{results['task']}"),
                words(metric),
                format_cell(results["metrics"][metric]),
                format_value(ceiling[metric]) if ceiling else "-",
                format_value(results["yardsticks"][best][metric]) if best else "-",
                words(best) if best else "",
                format_cell(results["margins"][best][metric]) if best else "-",
                results["n"],
                results["unparsable"],
            ]
        )
    return joined(
        [element("h2", "First metric of each task, per cent [95 % interval]"), _table(header, rows, 2)]
    )


def _radar(reports: Sequence[TaskReport]) -> Markup:
    axes, lines = [], {"model": [], "best baseline": [], "codec ceiling": []}  # type: ignore[var-annotated]
    for report in reports:
        results = report.results
        metric = next(iter(results["metrics"]))
        best = best_baseline(results, metric)
        axes.append(f"{results['task']} {words(metric)}")
        lines["model"].append(results["metrics"][metric]["value"])
        lines["best baseline"].append(results["yardsticks"][best][metric]["value"] if best else None)
        ceiling = results["yardsticks"].get(_CEILING)
        lines["codec ceiling"].append(ceiling[metric]["value"] if ceiling else None)
    kinds: tuple[Kind, ...] = ("model", "baseline", "bound")
    series = [Series(name, kind, lines[name]) for name, kind in zip(lines, kinds, strict=True)]
    legend = [[element("b", line.name, class_=line.kind), " "] for line in series]
    text = (
        "Centre 0, rim 100 per cent, not scaled by ceilings; what exceeds 100 (CIDEr can) is at the rim. "
        "A ceiling is there where the answer has to pass through a codec."
    )
    return element(
        "section",
        element("h2", "All tasks"),
        element("p", legend),
        element("div", radar(axes, series), class_="scroll"),
        element("p", text),
    )


def _table(
    header: Sequence[str], rows: Sequence[Sequence[Content]], strong: int | None = None, strong_rows: int = 0
) -> Markup:
    head = element("tr", [element("th", name) for name in header])
    body = [
        element(
            "tr",
            [
                element("td", cell, class_="strong" if column == strong else None)
                for column, cell in enumerate(row)
            ],
            class_="strong" if number < strong_rows else None,
        )
        for number, row in enumerate(rows)
    ]
    return element("div", element("table", element("thead", head), element("tbody", body)), class_="scroll")


def _facts(known: Mapping[str, str]) -> Markup:
    return element("dl", [[element("dt", name), element("dd", value)] for name, value in known.items()])


def _data_uri(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
