"""Prints docs/settings.md from the table of settings."""

from tier0.core.settings import TABLE

print("# Settings\n\nMade by `python docs/settings.py`. The option wins over the environment, the environment over the ini file.\n")
print("| option | environment | ini | default | |\n|---|---|---|---|---|")
for row in TABLE:
    metavar = row.metavar.replace("|", "\\|")
    print(f"| `{row.option} {metavar}` | `{row.variable}` | `{row.ini}` | {f'`{row.default}`' if row.default else ''} | {row.help} |")
