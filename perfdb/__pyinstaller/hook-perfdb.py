"""Take along what no import names: the migration scripts, and the pages' styles and templates."""

from __future__ import annotations

from pathlib import Path

from PyInstaller.utils.hooks import collect_data_files, get_module_file_attribute

package = Path(get_module_file_attribute("perfdb")).parent
folders = (package / "migrations", package.parent / "migrations")  # of a wheel; of a checkout
migrations = next(folder for folder in folders if (folder / "versions").is_dir())

datas = collect_data_files("perfdb")
datas += [(str(file), "perfdb/migrations") for file in migrations.glob("*.py")]
datas += [(str(file), "perfdb/migrations/versions") for file in migrations.glob("versions/*.py")]

# What the scripts import.
hiddenimports = ["alembic.op", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite"]
