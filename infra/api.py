"""The portal's way to the function: one route behind its user pool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_apigateway, aws_cognito, aws_lambda, aws_logs
from constructs import Construct

from infra.acknowledged import acknowledge
from packager.portal.settings import cors_headers

if TYPE_CHECKING:
    from infra.settings import Deployment

_RATE_PER_S, _BURST = 20, 40

_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "requestTime": "$context.requestTime",
    "httpMethod": "$context.httpMethod",
    "resourcePath": "$context.resourcePath",
    "path": "$context.path",
    "status": "$context.status",
    "responseLength": "$context.responseLength",
    "integrationLatency": "$context.integrationLatency",
    "user": "$context.authorizer.claims.sub",
    "ip": "$context.identity.sourceIp",
    "refusal": "$context.authorizer.error",
    "error": "$context.error.message",
}
"""A line for each request: who asked, also when it was refused before the function (401, 403)."""


class Api(Construct):
    """`POST` and `GET /api/v1/training/{id}/package`, for members of the pool; API Gateway itself answers OPTIONS."""

    def __init__(
        self, stack: cdk.Stack, deployment: Deployment, alias: aws_lambda.IFunction, log_group: aws_logs.ILogGroup
    ) -> None:
        super().__init__(stack, "Api")
        api = self._rest_api(deployment, log_group)
        pool = aws_cognito.UserPool.from_user_pool_arn(self, "Pool", deployment.user_pool)
        authorizer = aws_apigateway.CognitoUserPoolsAuthorizer(self, "Authorizer", cognito_user_pools=[pool])
        package = api.root.resource_for_path("api/v1/training/{id}/package")
        function = aws_apigateway.LambdaIntegration(
            alias, proxy=True, allow_test_invoke=False, timeout=cdk.Duration.seconds(deployment.integration_s)
        )
        for method in ("POST", "GET") if deployment.hands_over else ("POST",):
            package.add_method(
                method,
                function,
                authorizer=authorizer,
                authorization_type=aws_apigateway.AuthorizationType.COGNITO,
                request_parameters={"method.request.path.id": True},
            )
        options = _preflight(package, deployment.cors_origin)
        asked_without = "A browser asks with OPTIONS before it may send credentials; the answer holds headers only."
        acknowledge(options, {"AwsSolutions-APIG4": asked_without, "AwsSolutions-COG4": asked_without})
        for name, kind in (
            ("Refused", aws_apigateway.ResponseType.DEFAULT_4_XX),
            ("Failed", aws_apigateway.ResponseType.DEFAULT_5_XX),
        ):
            # Without these headers a page cannot tell a refusal from a network that is down.
            origin = {"Access-Control-Allow-Origin": f"'{deployment.cors_origin}'"}
            api.add_gateway_response(name, type=kind, response_headers=origin)
        acknowledge(
            api,
            {
                "AwsSolutions-APIG2": "The function checks every field and answers with its name.",
                "AwsSolutions-APIG3": "A firewall belongs to the portal that stands before this API.",
                "AwsSolutions-APIG6": "Log levels of methods would write request bodies; access logs are on.",
            },
        )

    def _rest_api(self, deployment: Deployment, log_group: aws_logs.ILogGroup) -> aws_apigateway.RestApi:
        return aws_apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=deployment.function_name,
            endpoint_types=[aws_apigateway.EndpointType.REGIONAL],
            cloud_watch_role=False,
            deploy_options=aws_apigateway.StageOptions(
                stage_name=deployment.stage,
                tracing_enabled=True,
                throttling_rate_limit=_RATE_PER_S,
                throttling_burst_limit=_BURST,
                access_log_destination=aws_apigateway.LogGroupLogDestination(log_group),
                access_log_format=aws_apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
            ),
        )


def _preflight(resource: aws_apigateway.Resource, origin: str) -> aws_apigateway.Method:
    """Answer OPTIONS without the function: anybody may ask, and each question would hold a large environment."""
    headers = {**cors_headers(origin), "Access-Control-Max-Age": "86400"}
    return resource.add_method(
        "OPTIONS",
        aws_apigateway.MockIntegration(
            passthrough_behavior=aws_apigateway.PassthroughBehavior.NEVER,
            request_templates={"application/json": '{"statusCode": 200}'},
            integration_responses=[
                aws_apigateway.IntegrationResponse(
                    status_code="200",
                    response_parameters={
                        f"method.response.header.{name}": f"'{value}'" for name, value in headers.items()
                    },
                )
            ],
        ),
        method_responses=[
            aws_apigateway.MethodResponse(
                status_code="200",
                response_parameters={f"method.response.header.{name}": True for name in headers},
            )
        ],
    )
