"""The database: tables, engine, migrations. SQLite by default, another engine by URL."""
