"""Own data: read a pool, choose its pairs, take them to the annotators, and bring labels back.

pool file ──pools──▶ Corpus ──embedding──▶ Pool ──selection──▶ pairs file
    ▲                                                              │
    └── labels file ◀──exchange── annotators' tools ◀──exchange────┘
"""
