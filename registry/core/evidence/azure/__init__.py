"""Azure confidential VMs, whose quote is the vTPM's: check S15 over an SNP report or a TD quote."""
