//! Real clients against the real binary: SDKs, command lines, backup tools, tables and a file system. The scenarios are
//! Python scripts in `tests/clients`, one function each.

use cairn_tests::{Cairn, scenario, scenarios};

fn run(script: &str, scenario: &str) -> Result<(), String> {
    scenario::run(script, scenario, &Cairn::shared(), None)
}

scenarios! {
    run;
    aws_makes_and_removes_buckets: "aws_cli.py" "make_and_remove_buckets";
    aws_copies_small_and_large_files_both_ways: "aws_cli.py" "copy_both_ways";
    aws_syncs_a_tree_and_only_what_changed: "aws_cli.py" "sync";
    aws_lists_moves_and_removes: "aws_cli.py" "list_move_remove";
    aws_streams_through_pipes: "aws_cli.py" "stream";
    aws_s3api_versions: "aws_s3api.py" "versioning";
    aws_s3api_lists_versions: "aws_s3api.py" "list_object_versions";
    aws_s3api_configures_object_lock: "aws_s3api.py" "object_lock";
    aws_s3api_retains_and_holds: "aws_s3api.py" "retention_and_legal_hold";
    aws_s3api_tags: "aws_s3api.py" "tagging";
    aws_s3api_grants_and_sets_ownership: "aws_s3api.py" "acls_and_ownership";
    aws_s3api_has_requesters_pay: "aws_s3api.py" "payment_and_acceleration";
    aws_s3api_gets_object_attributes: "aws_s3api.py" "object_attributes";
    boto3_puts_gets_heads_and_ranges: "boto3_sweep.py" "put_get_head_range";
    boto3_copies: "boto3_sweep.py" "copy";
    boto3_deletes_many: "boto3_sweep.py" "delete_objects";
    boto3_uploads_in_parts: "boto3_sweep.py" "multipart";
    boto3_pages_through_listings: "boto3_sweep.py" "paginate";
    boto3_presigns: "boto3_sweep.py" "presigned";
    boto3_presigns_forms: "browser_forms.py" "presigned_posts";
    boto3_presigns_forms_in_a_session: "browser_forms.py" "session_post";
    boto3_configures_websites: "browser_forms.py" "websites";
    boto3_presigns_with_version_2: "boto3_sweep.py" "presigned_v2";
    boto3_checks_every_checksum: "boto3_sweep.py" "checksums";
    boto3_gets_object_attributes: "boto3_sweep.py" "object_attributes";
    boto3_deletes_conditionally: "boto3_sweep.py" "conditional_deletes";
    boto3_keeps_metadata: "boto3_sweep.py" "metadata";
    boto3_sees_typed_errors: "boto3_sweep.py" "errors";
    boto3_writes_conditionally: "boto3_sweep.py" "conditional_writes";
    boto3_grants_and_revokes: "boto3_acl.py" "acls";
    boto3_sets_ownership: "boto3_acl.py" "ownership";
    boto3_has_requesters_pay: "boto3_acl.py" "payment";
    boto3_puts_bucket_policies: "boto3_policy.py" "policies";
    boto3_blocks_public_access: "boto3_policy.py" "access_blocks";
    boto3_blocks_public_access_to_an_account: "boto3_policy.py" "account_block";
    boto3_configures_object_lock: "boto3_object_lock.py" "configuration";
    boto3_retains_versions: "boto3_object_lock.py" "retention";
    boto3_holds_versions: "boto3_object_lock.py" "legal_hold";
    boto3_puts_lifecycle_rules: "lifecycle.py" "rules";
    boto3_archives_and_restores: "lifecycle.py" "archive";
    boto3_and_aws_configure_intelligent_tiering: "lifecycle.py" "tiering";
    aws_puts_lifecycle_rules_and_restores: "lifecycle.py" "command_line";
    boto3_replicates_buckets: "replication.py" "configuration";
    boto3_puts_replication_rules_of_every_shape: "replication.py" "shapes_of_rules";
    boto3_deletes_buckets_that_replicate: "replication.py" "buckets_that_go";
    aws_replicates_buckets: "replication.py" "command_line";
    aws_tells_who_one_is: "sts.py" "caller_identity";
    boto3_keeps_users_and_policies: "boto3_iam.py" "users_and_policies";
    boto3_keeps_groups_and_roles: "boto3_iam.py" "groups_and_roles";
    boto3_reads_reports_of_identities: "boto3_iam.py" "reports";
    aws_manages_users: "boto3_iam.py" "cli";
    aws_and_boto3_sign_with_session_tokens: "sts.py" "session_token";
    boto3_proves_by_a_url_who_one_is: "sts.py" "presigned_identity";
    boto3_assumes_a_role_again_and_again: "sts.py" "assume_role";
    aws_assumes_the_role_of_a_profile: "sts.py" "profile";
    boto3_keeps_kms_keys: "kms.py" "keys";
    aws_encrypts_under_kms_keys: "kms.py" "command_line";
    encryption_sdk_encrypts_with_keys_of_cairn: "kms.py" "encryption_sdk";
    s3_encryption_client_keeps_objects_only_it_can_read: "kms.py" "s3_encryption_client";
    restic_backs_up_checks_and_restores: "restic_backup.py" "backup_and_restore";
    duplicity_backs_up_incrementally_and_restores: "duplicity_backup.py" "backup_and_restore";
    rclone_syncs_and_checks_by_downloading: "rclone_remote.py" "sync_and_check";
    rclone_keeps_an_encrypted_tree: "rclone_remote.py" "crypt";
    rclone_uploads_and_copies_in_parts: "rclone_remote.py" "multipart";
    s3cmd_works_as_typed: "s3cmd_tour.py" "tour";
    s5cmd_moves_many_objects_and_large_ones: "s5cmd_tour.py" "tour";
    s3fs_mounts_a_bucket: "s3fs_mount.py" "mount_and_use";
    pyarrow_writes_and_reads_a_dataset: "pyarrow_dataset.py" "dataset";
    pyarrow_uses_objects_as_files: "pyarrow_dataset.py" "files";
    delta_commits_of_concurrent_writers_land_exactly_once: "delta_table.py" "concurrent_commits";
    minio_py_works: "minio_sdk.py" "tour";
    chromium_lets_only_allowed_pages_use_presigned_urls: "browser.py" "presigned";
    chromium_lets_only_allowed_pages_read_the_answers_to_forms: "browser.py" "forms";
    javascript_sdk_works: "javascript_sdk.py" "tour";
}
