"""How the page of a training looks, besides what it shares with that of an evaluation."""

from __future__ import annotations

MORE = """
main { max-width: 72rem; }
.verdict { background: var(--raised); border: 1px solid var(--line); border-left: .35rem solid
  var(--accent); border-radius: .6rem; padding: 1.1rem 1.3rem; margin-top: 1.5rem; }
.verdict p { margin: .35rem 0 0; }
.verdict strong { font-size: 1.25rem; }
.verdict code, td code { font-size: .95em; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.charts { display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.charts figcaption { margin-bottom: .2rem; }
.charts small { display: inline; }
.chart { width: 100%; height: auto; display: block; overflow: visible; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.chart .grid { stroke: var(--line); stroke-width: 1; fill: none; }
.chart .curve { stroke: var(--accent); stroke-width: 2; fill: none; stroke-linejoin: round; }
.chart .dot { fill: var(--accent); }
.chart .chosen { stroke: var(--paper); stroke-width: 2; }
.chart .best { stroke: var(--accent); stroke-width: 1; stroke-dasharray: 4 3; opacity: .7; }
.chart .reference { stroke: var(--new); stroke-width: 1.5; stroke-dasharray: 2 3; }
.chart .bar { fill: var(--accent); }
.listen figure { background: var(--paper); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .8rem; }
.listen .source { border-style: dashed; }
.listen figcaption { display: flex; flex-wrap: wrap; gap: 0 .6rem; align-items: baseline; }
.listen details .pair { margin-top: .8rem; }
.tag { background: var(--accent); color: var(--paper); border-radius: 1rem; padding: 0 .6rem;
  font-size: .78rem; font-weight: 600; }
tr.chosen th, tr.chosen td { font-weight: 700; color: var(--accent); }
.rows th, .rows td { padding: .3rem .7rem; text-align: right; }
.rows td, .rows th[scope=row] { white-space: nowrap; }
.rows th[scope=row] { min-width: 0; }
.rows th:first-child { text-align: left; padding-left: 0; }
.rows td:nth-child(3), .rows th:nth-child(3) { text-align: left; }
.rows { font-variant-numeric: tabular-nums; }
.facts { display: grid; gap: .2rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(12rem, 100%), 1fr)); }
.facts dd { font-weight: 600; }
.people { margin-top: 1.2rem; display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.people article { margin: 0; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .verdict { padding: .9rem 1rem; }
  article { padding: .9rem; }
}
"""
"""CSS; its colours are those of `sovits.evaluate.style`."""
