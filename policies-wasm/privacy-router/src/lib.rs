//! openshell-privacy-router.
