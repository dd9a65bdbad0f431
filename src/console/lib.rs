//! Floor 5: the web console's back end: assets and a few JSON endpoints.
