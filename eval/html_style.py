"""The style sheet of `report.html`: system fonts, no colour without a meaning, readable on paper too."""

STYLE = """
:root { --ink: #1c1e21; --faint: #646a73; --line: #d9dce1; --soft: #f4f5f7;
        --model: #1559c0; --bound: #0b7a4b; --baseline: #b25a00; }
body { margin: 0; color: var(--ink); background: #fff;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 2.5rem 0 .5rem; }
main > h1:first-child { margin-top: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.notes { background: #fff8e6; border-left: 4px solid #e0a800; padding: .6rem 1rem .6rem 2rem;
         margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
         vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--faint); font-weight: 600; max-width: 9rem; }
td { white-space: nowrap; }
td.strong, tr.strong td { font-weight: 600; }
tr.strong td { background: var(--soft); }
.footnotes { color: var(--faint); font-size: .9rem; list-style: none; padding: 0; }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.samples { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: min-content; min-width: 250px; }
figure img { max-width: 100vw; display: block; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; white-space: pre-line; }
.truth { color: #008f3a; } .answer { color: #d40000; }
b.model { color: var(--model); } b.bound { color: var(--bound); } b.baseline { color: var(--baseline); }
svg { max-width: none; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg .title { font-weight: 600; font-size: 13px; }
svg .light { fill: #fff; }
svg .grid { stroke: var(--line); fill: none; }
svg .range { stroke-width: 3; stroke-linecap: round; opacity: .55; }
svg .range.model { stroke: var(--model); } svg .range.bound { stroke: var(--bound); }
svg .range.baseline { stroke: var(--baseline); }
svg .dot.model { fill: var(--model); } svg .dot.bound { fill: var(--bound); }
svg .dot.baseline { fill: var(--baseline); }
svg .area { stroke-width: 2; fill-opacity: .12; }
svg .area.model { stroke: var(--model); fill: var(--model); }
svg .area.bound { stroke: var(--bound); fill: none; }
svg .area.baseline { stroke: var(--baseline); fill: none; }
svg .cell.none { fill: var(--soft); }
svg .cell.right { fill: var(--bound); } svg .cell.wrong { fill: #c0281c; }
@media print { section { break-inside: avoid-page; } }
"""
