//! [`export!`](crate::export!) and what it expands to.

use std::sync::OnceLock;

use crate::Policy;
use crate::bindings::exports::openshell::policy::configure::Setup;

/// Exports a policy and the hooks it implements: `export!(MyPolicy: connect, request);`.
///
/// The hooks are `connect`, `request`, `response`, `launch` and `route`; each needs its trait. The component exports
/// exactly these. Once per crate; on targets other than `wasm32` it only checks that the traits are implemented.
///
/// ```
/// use openshell_policy_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// struct NoUploads {}
///
/// impl Policy for NoUploads {}
///
/// impl Request for NoUploads {
///     fn request(&self, _: &Connection, request: &HttpRequest) -> Verdict {
///         if request.is_read() { Verdict::abstain() } else { Verdict::deny("no-uploads", "only reads are allowed") }
///     }
/// }
///
/// export!(NoUploads: request);
/// ```
#[macro_export]
macro_rules! export {
    ($policy:ident : $($hook:ident),+ $(,)?) => {
        const _: () = {
            $( $crate::__hook!(@check $hook $policy); )+

            #[cfg(target_arch = "wasm32")]
            static POLICY: ::std::sync::OnceLock<$policy> = ::std::sync::OnceLock::new();

            #[cfg(target_arch = "wasm32")]
            struct Export;

            #[cfg(target_arch = "wasm32")]
            impl $crate::bindings::exports::openshell::policy::configure::Guest for Export {
                fn schema() -> ::std::string::String {
                    <$policy as $crate::Policy>::SCHEMA.into()
                }
                fn configure(
                    settings: ::std::string::String,
                ) -> ::std::result::Result<
                    $crate::bindings::exports::openshell::policy::configure::Setup,
                    ::std::string::String,
                > {
                    $crate::export::configure(&POLICY, &settings)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::openshell::policy::configure::__export_openshell_policy_configure_0_1_0_cabi!(
                Export with_types_in $crate::bindings::exports::openshell::policy::configure
            );
            $(
                #[cfg(target_arch = "wasm32")]
                $crate::__hook!(@export $hook);
            )+
        };
    };
}

/// One hook of [`export!`](crate::export!): `@check` its trait, `@export` its function.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (@check connect $policy:ident) => { $crate::__hook!(@implements Connect $policy); };
    (@check request $policy:ident) => { $crate::__hook!(@implements Request $policy); };
    (@check response $policy:ident) => { $crate::__hook!(@implements Response $policy); };
    (@check launch $policy:ident) => { $crate::__hook!(@implements Launch $policy); };
    (@check route $policy:ident) => { $crate::__hook!(@implements Route $policy); };
    (@check $other:ident $policy:ident) => {
        compile_error!(concat!(
            "`", stringify!($other), "` is not a hook; hooks are connect, request, response, launch, route"
        ));
    };
    (@implements $trait:ident $policy:ident) => {
        const _: fn() = || {
            fn implements<P: $crate::Policy + $crate::$trait>() {}
            implements::<$policy>();
        };
    };
    (@export connect) => {
        impl $crate::bindings::exports::openshell::policy::connect::Guest for Export {
            fn decide(connection: $crate::Connection) -> $crate::Verdict {
                $crate::Connect::connect($crate::export::configured(&POLICY), &connection)
            }
        }
        $crate::bindings::exports::openshell::policy::connect::__export_openshell_policy_connect_0_1_0_cabi!(
            Export with_types_in $crate::bindings::exports::openshell::policy::connect
        );
    };
    (@export request) => {
        impl $crate::bindings::exports::openshell::policy::request::Guest for Export {
            fn decide(connection: $crate::Connection, request: $crate::HttpRequest) -> $crate::Verdict {
                $crate::Request::request($crate::export::configured(&POLICY), &connection, &request)
            }
        }
        $crate::bindings::exports::openshell::policy::request::__export_openshell_policy_request_0_1_0_cabi!(
            Export with_types_in $crate::bindings::exports::openshell::policy::request
        );
    };
    (@export response) => {
        impl $crate::bindings::exports::openshell::policy::response::Guest for Export {
            fn decide(
                connection: $crate::Connection,
                request: $crate::HttpRequest,
                response: $crate::HttpResponse,
            ) -> $crate::Verdict {
                $crate::Response::response($crate::export::configured(&POLICY), &connection, &request, &response)
            }
        }
        $crate::bindings::exports::openshell::policy::response::__export_openshell_policy_response_0_1_0_cabi!(
            Export with_types_in $crate::bindings::exports::openshell::policy::response
        );
    };
    (@export launch) => {
        impl $crate::bindings::exports::openshell::policy::launch::Guest for Export {
            fn constrain(
                workload: $crate::Workload,
            ) -> ::std::result::Result<$crate::Constraints, ::std::string::String> {
                $crate::Launch::launch($crate::export::configured(&POLICY), &workload)
            }
        }
        $crate::bindings::exports::openshell::policy::launch::__export_openshell_policy_launch_0_1_0_cabi!(
            Export with_types_in $crate::bindings::exports::openshell::policy::launch
        );
    };
    (@export route) => {
        impl $crate::bindings::exports::openshell::policy::route::Guest for Export {
            fn choose(
                request: $crate::InferenceRequest,
                backends: ::std::vec::Vec<$crate::Backend>,
            ) -> ::std::result::Result<$crate::RouteDecision, $crate::Denial> {
                $crate::Route::route($crate::export::configured(&POLICY), &request, &backends)
            }
        }
        $crate::bindings::exports::openshell::policy::route::__export_openshell_policy_route_0_1_0_cabi!(
            Export with_types_in $crate::bindings::exports::openshell::policy::route
        );
    };
    (@export $other:ident) => {};
}

/// Makes a policy of its settings: deserializes, prepares. Refuses in words.
pub(crate) fn from_settings<P: Policy>(settings: &str) -> Result<P, String> {
    let settings = match settings.trim() {
        "" | "null" => "{}",
        settings => settings,
    };
    let mut policy: P = serde_json::from_str(settings).map_err(|error| format!("settings: {error}"))?;
    policy.prepare()?;
    Ok(policy)
}

/// The exported `configure`: from now on the host hears why a hook panics, and hooks find the policy in `slot`.
pub fn configure<P: Policy>(slot: &OnceLock<P>, settings: &str) -> Result<Setup, String> {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::last_words::say(panic)));
    let policy = from_settings::<P>(settings)?;
    policy.warm_up();
    let setup = Setup { body_cap: policy.body_cap(), examples: policy.examples() };
    slot.set(policy).map_err(|_| "configure was called twice".to_owned())?;
    Ok(setup)
}

/// The policy that `configure` made. Panics, which denies, when there is none: an unbaked module decides nothing.
pub fn configured<P: Policy>(slot: &'static OnceLock<P>) -> &'static P {
    slot.get().expect("asked before `configure`")
}
