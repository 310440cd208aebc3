//! openshell-proxy.
