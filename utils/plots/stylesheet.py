"""What all our pages look like: type, colours, headings, tables. Without imports."""

BASE_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; color: #1a1a1a;
  background: #fff; }
header, main { max-width: 1500px; margin: 0 auto; padding: 0 24px; }
h1 { font-size: 26px; margin: 24px 0 4px; } h2 { font-size: 20px; margin: 36px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid #d8d8d8; } h3 { font-size: 15px; margin: 0 0 4px; }
p.note { margin: 4px 0; color: #444; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 12px 0; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px; text-align: right; border-bottom: 1px solid #e8e8e8; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #999; } th:first-child, td:first-child { text-align: left; }
ul.notes { margin: 8px 0; padding-left: 20px; color: #7a4a00; }
"""
