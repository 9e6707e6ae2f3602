"""How the page of an evaluation looks."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --ink: #1d1b20; --faint: #63606a; --line: #dedae3; --raised: #f4f1f7;
  --accent: #7a2470; --gone: #9b1c2e; --new: #14603a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17151b; --ink: #ece9f0; --faint: #a9a4b3; --line: #3a3543; --raised: #211e27;
    --accent: #e69adb; --gone: #ff9aa8; --new: #8fdcb2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.2; margin: 0; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1rem 0 0; }
header p, caption, small, .faint { color: var(--faint); }
.faint { font-weight: normal; overflow-wrap: anywhere; }
header p { margin: .4rem 0 0; }
.wide { overflow-x: auto; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: .75rem; }
th, td { padding: .55rem .6rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
thead th { border-bottom: 2px solid var(--ink); font-size: .9rem; }
thead th:nth-child(n+3) { text-align: right; }
tbody { border-bottom: 1px solid var(--line); }
th[scope=row] { font-weight: 600; min-width: 15rem; }
small { display: block; font-size: .82rem; font-weight: normal; line-height: 1.4; }
td.number, td.none { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.none { color: var(--faint); }
td.made { font-weight: 700; color: var(--accent); }
ul { margin: 0; padding-left: 1.2rem; }
article {
  background: var(--raised); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.1rem 1.2rem; margin-bottom: 1.25rem;
}
.pair {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
}
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .9rem; }
audio { width: 100%; height: 2.5rem; margin: .3rem 0; }
.spectrogram {
  display: grid; grid-template-columns: 1fr auto; font-size: .75rem; color: var(--faint);
}
.spectrogram span:first-child, .spectrogram img { grid-column: 1 / -1; }
.spectrogram img { width: 100%; height: 9rem; border-radius: .3rem; background: #07061a; }
dl { margin: .5rem 0 0; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
.values {
  display: grid; gap: .1rem 1.25rem; margin-top: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(13rem, 100%), 1fr));
}
.values dd { font-variant-numeric: tabular-nums; font-weight: 600; }
details { margin-top: .75rem; }
summary { cursor: pointer; font-weight: 600; }
del { color: var(--gone); }
ins { color: var(--new); text-decoration-thickness: 2px; }
@media (max-width: 40rem) {
  th, td { padding: .5rem .3rem; }
  th[scope=row] { min-width: 8.5rem; }
  td.number { white-space: normal; }
  .values { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
}
@media print { audio { display: none; } article { break-inside: avoid; } }
"""
"""CSS; light or dark as the reader's system is, and legible in both (WCAG 2 AA)."""
