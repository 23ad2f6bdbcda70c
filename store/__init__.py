"""The database: SQLite or PostgreSQL behind one interface. All SQL of the product is here.

`db` connects, `schema` defines the tables, `ingest` stores what apps send, `receipts` changes the
state of a receipt. The other folders own one noun each. `migrate` runs the migrations. Functions
take a session and return domain
values.
"""
