"""The portal's way to the function: one route behind its user pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_apigateway, aws_cognito, aws_lambda, aws_logs
from constructs import Construct

from infra.acknowledged import acknowledge

if TYPE_CHECKING:
    from infra.settings import Deployment

_RATE_PER_S, _BURST = 20, 40


class Api(Construct):
    """`POST /api/v1/training/{id}/package`, for members of the user pool; OPTIONS is the function's own answer."""

    def __init__(
        self, stack: cdk.Stack, deployment: Deployment, alias: aws_lambda.IFunction, log_group: aws_logs.ILogGroup
    ) -> None:
        super().__init__(stack, "Api")
        api = aws_apigateway.RestApi(
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
                access_log_format=aws_apigateway.AccessLogFormat.json_with_standard_fields(
                    caller=False, http_method=True, ip=False, protocol=True, request_time=True,
                    resource_path=True, response_length=True, status=True, user=False,
                ),
            ),
        )  # fmt: skip
        pool = aws_cognito.UserPool.from_user_pool_arn(self, "Pool", deployment.user_pool)
        authorizer = aws_apigateway.CognitoUserPoolsAuthorizer(self, "Authorizer", cognito_user_pools=[pool])
        package = api.root.resource_for_path("api/v1/training/{id}/package")
        function = aws_apigateway.LambdaIntegration(alias, proxy=True, allow_test_invoke=False)
        package.add_method(
            "POST",
            function,
            authorizer=authorizer,
            authorization_type=aws_apigateway.AuthorizationType.COGNITO,
            request_parameters={"method.request.path.id": True},
        )
        options = package.add_method("OPTIONS", function)
        asked_without = "A browser asks with OPTIONS before it may send credentials; the answer holds headers only."
        acknowledge(options, {"AwsSolutions-APIG4": asked_without, "AwsSolutions-COG4": asked_without})
        acknowledge(
            api,
            {
                "AwsSolutions-APIG2": "The function checks every field and answers with its name.",
                "AwsSolutions-APIG3": "A firewall belongs to the portal that stands before this API.",
                "AwsSolutions-APIG6": "Log levels of methods would write request bodies; access logs are on.",
            },
        )
