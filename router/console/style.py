"""The console's look: one style sheet over Quasar's, by variables that follow light and dark."""

STYLE = """
:root { --page:#f5f6f8; --card:#fff; --line:#e2e6ec; --text:#1b2330; --quiet:#5b6675; --accent:#1d5fd6;
  --good:#0b7a55; --warn:#8a5a00; --bad:#c0272d; --soft:rgba(29,95,214,.09) }
body.body--dark { color-scheme:dark }
body.body--dark { --page:#0d1117; --card:#151b23; --line:#2a323d; --text:#e4e9f0; --quiet:#98a3b3; --accent:#6ea8ff;
  --good:#3ecf96; --warn:#e3b341; --bad:#ff7b72; --soft:rgba(110,168,255,.13) }
body { background:var(--page) !important; color:var(--text); font:14px/1.5 system-ui,sans-serif }
.nicegui-content { padding:0 !important; gap:0 !important; align-items:stretch !important; width:100%;
  max-width:none !important }
a { color:var(--accent) }
a:focus-visible, button:focus-visible, [tabindex]:focus-visible, input:focus-visible { outline:2px solid
  var(--accent); outline-offset:2px; border-radius:4px }
.skip { position:absolute; left:-999px }
.skip:focus { left:8px; top:8px; z-index:99; background:var(--card); padding:8px }
.top { background:var(--card); border-bottom:1px solid var(--line); position:sticky; top:0; z-index:10 }
.bar { display:flex; align-items:center; gap:16px; max-width:1280px; margin:0 auto; padding:0 20px; height:52px;
  width:100% }
.brand { font-weight:650; font-size:16px; letter-spacing:-.01em; color:var(--text); text-decoration:none;
  display:flex; gap:8px; align-items:center }
.brand svg { display:block }
.nav { display:flex; gap:2px; overflow-x:auto; flex:1; scrollbar-width:none; align-self:stretch }
.nav a { color:var(--quiet); text-decoration:none; padding:0 11px; white-space:nowrap; display:flex;
  align-items:center; border-bottom:2px solid transparent; border-top:2px solid transparent }
.nav a:hover { color:var(--text) }
.nav a[aria-current] { color:var(--text); border-bottom-color:var(--accent); font-weight:550 }
.who { display:flex; gap:10px; align-items:center; color:var(--quiet); white-space:nowrap; font-size:13px }
.who button, .plain { font:inherit; background:none; border:1px solid var(--line); border-radius:6px;
  color:var(--text); padding:3px 10px; cursor:pointer }
.dot { width:8px; height:8px; border-radius:50%; background:var(--good); flex:none }
.dot.late { background:var(--bad) }
div.page { max-width:1280px; margin:0 auto; padding:20px; width:100%; display:flex; flex-direction:column; gap:16px
  }
.title { display:flex; align-items:center; gap:12px; flex-wrap:wrap }
h1 { font-size:20px; font-weight:620; margin:0; letter-spacing:-.01em; line-height:1.3 }
h2 { font-size:14px; font-weight:600; margin:0 0 8px; line-height:1.4 }
.quiet { color:var(--quiet) }
.good { color:var(--good) }
.warn { color:var(--warn) }
.bad { color:var(--bad) }
.small { font-size:12.5px }
.mono { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; font-size:12.5px }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px; min-width:0 }
.kpis { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:12px }
.kpi .name { color:var(--quiet); font-size:12.5px }
.kpi .value { font-size:23px; font-weight:600; line-height:1.35; font-variant-numeric:tabular-nums;
  letter-spacing:-.01em }
.kpi .note { font-size:12.5px; color:var(--quiet); min-height:1.5em }
.two { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr)); gap:16px }
.side { display:grid; grid-template-columns:minmax(0,1fr) minmax(0,420px); gap:16px; align-items:start }
.stack { display:flex; flex-direction:column; gap:12px; min-width:0 }
.row2 h2 { margin:0 }
.row2 { display:flex; gap:8px; align-items:center; flex-wrap:wrap }
.chart { height:230px; width:100% }
.chart.tall { height:300px }
.banner { border-radius:8px; padding:10px 14px; border:1px solid; display:flex; gap:10px }
.banner.bad { border-color:var(--bad); background:color-mix(in srgb,var(--bad) 9%,transparent) }
.banner.warn { border-color:var(--warn); background:color-mix(in srgb,var(--warn) 9%,transparent) }
.banner.good { border-color:var(--good); background:color-mix(in srgb,var(--good) 9%,transparent) }
.chip { display:inline-block; border-radius:99px; padding:1px 9px; font-size:12px; border:1px solid var(--line);
  color:var(--quiet); white-space:nowrap }
.chip.good { color:var(--good); border-color:currentColor }
.chip.bad { color:var(--bad); border-color:currentColor }
.chip.warn { color:var(--warn); border-color:currentColor }
.chip.blue { color:var(--accent); border-color:currentColor }
.q-table__container { background:transparent !important; box-shadow:none !important; color:inherit !important }
.q-table th { font-size:12px; color:var(--quiet); font-weight:550 }
.q-table td, .q-table th { border-color:var(--line) !important; padding:5px 12px 5px 0 !important; height:34px
  !important }
.q-table th { vertical-align:bottom; white-space:nowrap }
.q-table td { font-size:13.5px; font-variant-numeric:tabular-nums }
.q-table th:last-child, .q-table td:last-child { padding-right:0 !important }
.q-table__top, .q-table__bottom { padding:0 !important; min-height:36px }
.q-table__bottom { border-color:var(--line) !important }
.meter { display:inline-block; width:84px; height:6px; border-radius:3px; background:var(--line); position:relative;
  vertical-align:middle }
.meter i { position:absolute; left:0; top:0; bottom:0; border-radius:3px; background:#3b82f6 }
.meter b { position:absolute; top:-2px; bottom:-2px; background:rgba(59,130,246,.35); border-radius:2px;
  min-width:2px }
table.facts { border-collapse:collapse; width:100% }
.facts th { text-align:left; font-weight:400; color:var(--quiet); padding:4px 12px 4px 0; vertical-align:top;
  white-space:nowrap }
.facts td { padding:4px 0; word-break:break-word }
table.grid { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
.grid th { text-align:left; font-size:12px; color:var(--quiet); font-weight:550; border-bottom:1px solid
  var(--line); padding:4px 10px 4px 0 }
.grid td { border-bottom:1px solid var(--line); padding:5px 10px 5px 0; vertical-align:top; word-break:break-word }
.grid .num { text-align:right }
.picked { font-weight:650; outline:2px solid var(--accent); outline-offset:-2px; border-radius:4px }
.narrow { max-width:560px }
.nicegui-tab-panel > *, .stack, .two { width:100% }
.row2 .q-btn { padding:4px 12px }
#results { scroll-margin-top:64px }
.strong { font-weight:600 }
.grow { flex:1; min-width:180px } .step { display:flex; flex-direction:column; gap:4px }
.kinds { width:200px } .grid tr.chosen td { background:var(--soft) }
.scroll { overflow-x:auto }
.editor { border:1px solid var(--line); border-radius:8px; overflow:hidden; height:380px; width:100% }
.editor .cm-editor { height:100% }
.cm-scroller { font-size:13px }
.cm-wrong { text-decoration:underline wavy var(--bad); text-underline-offset:3px; background:color-mix(in
  srgb,var(--bad) 14%,transparent) }
.cm-doubtful { text-decoration:underline wavy var(--warn); text-underline-offset:3px }
.problem.doubtful { border-color:var(--warn) }
.problem { border-left:3px solid var(--bad); padding:4px 0 4px 10px }
.diff { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; font-size:12.5px }
.diff .was { color:var(--bad) }
.diff .is { color:var(--good) }
.q-btn { text-transform:none; font-weight:550; border-radius:7px }
.q-field--dense .q-field__control { border-radius:7px }
.q-tab { text-transform:none }
.q-tab__label { font-size:13.5px; font-weight:550 }
.q-tab { min-height:38px; padding:0 12px }
.q-tab-panel { padding:12px 0 0 }
.q-tab-panels { background:transparent !important; width:100% }
.q-tabs { width:100% }
.q-dialog .q-card { background:var(--card); color:var(--text); border-radius:12px; max-width:min(680px,94vw);
  width:100%; padding:18px; box-shadow:0 12px 48px rgba(0,0,0,.35); gap:12px }
.nicegui-echart { width:100% }
.q-btn--outline, .q-btn--flat { --q-primary:var(--accent) }
.q-option-group > div { padding:3px 0 }
.q-btn-toggle .q-btn { padding:2px 12px }
@media (max-width:899px) {
  .side { grid-template-columns:minmax(0,1fr) }
}
@media (max-width:640px) {
  .bar { flex-wrap:wrap; height:auto; padding:8px 12px 0; gap:6px 10px }
  .brand { flex:1 }
  .nav { order:3; flex-basis:100%; margin:0 -12px; padding:0 6px; min-height:40px }
  div.page { padding:12px; gap:12px }
  .kpis { grid-template-columns:1fr 1fr; gap:8px }
  .kpi .value { font-size:19px }
  .card { padding:12px }
  .narrow-hide { display:none !important }
  .who .role { display:none }
  .editor { height:340px }
  .chart { height:200px }
}
@media (prefers-reduced-motion:reduce) {
  * { transition:none !important; animation:none !important }
}
"""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Crect width='24' height='24' "
    "rx='6' fill='%232563eb'/%3E%3Cpath d='M4 15c4 0 4-7 8-7s4 7 8 7' stroke='white' stroke-width='2.4' fill='none' "
    "stroke-linecap='round'/%3E%3C/svg%3E"
)
"""The icon of the tab and the brand, within the page: nothing is fetched for it."""
