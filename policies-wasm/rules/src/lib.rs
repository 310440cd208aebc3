//! openshell-rules.
